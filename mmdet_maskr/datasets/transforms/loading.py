"""Loading keypoints beside boxes and masks, and filtering all of them together."""

from __future__ import annotations

import numpy as np
from mmdet.datasets.transforms import FilterAnnotations, LoadAnnotations
from mmdet.registry import TRANSFORMS

from mmdet_maskr.coco.form import annotated_keypoints
from mmdet_maskr.datasets.transforms._in_step import KeypointsInStep, is_unmoved, record_step
from mmdet_maskr.errors import UserError


@TRANSFORMS.register_module()
class LoadKeypointAnnotations(LoadAnnotations):
    """mmdet's LoadAnnotations that reads keypoints too.

    ``gt_keypoints``: (N, K, 3) float32 x, y, v, in the order of ``gt_bboxes``, ignored instances
    included. COCO's files hold pixel indices; x and y are continuous, as boxes are: 0.5 more (as
    in Detectron2). All zeros where v is 0. An image without the key ``instances`` (an inferencer's)
    has no ground truth and gets no ``gt_keypoints``.

    Args:
        with_keypoints: read them. All other options are LoadAnnotations'.

    Raises:
        UserError: keypoints without boxes; a data set that gives none, or another number.
    """

    def __init__(self, with_keypoints: bool = True, **kwargs) -> None:
        super().__init__(with_keypoints=with_keypoints, **kwargs)
        if with_keypoints and not self.with_bbox:
            raise UserError(
                "LoadKeypointAnnotations(with_bbox=False) cannot keep keypoints with their "
                "instances: set with_bbox=True or with_keypoints=False."
            )

    def transform(self, results: dict) -> dict:
        """What LoadAnnotations loads, and ``gt_keypoints``."""
        results = super().transform(results)
        if self.with_keypoints and "instances" in results:
            self._load_keypoints(results)
        return results

    def _load_keypoints(self, results: dict) -> None:
        image = results.get("img_path") or f"image {results.get('img_id')}"
        if "keypoint_flip_indices" not in results:
            raise UserError(
                f"{image}: the data set gives no keypoints (keypoint_flip_indices is missing). Use "
                "CocoKeypointDataset or CocoJointDataset, or "
                "LoadKeypointAnnotations(with_keypoints=False)."
            )
        number = len(results["keypoint_flip_indices"])
        instances = results["instances"]
        keypoints = np.zeros((len(instances), number, 3), np.float32)
        for row, instance in zip(keypoints, instances, strict=True):
            given = np.asarray(instance.get("keypoints", ()), np.float32)
            if given.size != row.size:
                raise UserError(
                    f"{image}: an instance (box {instance['bbox']}) has {given.size} numbers of "
                    f"keypoints instead of 3 * {number}."
                )
            row[:] = given.reshape(number, 3)
        results["gt_keypoints"] = annotated_keypoints(keypoints).astype(np.float32)
        record_step(results, in_image_frame=is_unmoved(results.get("homography_matrix")))

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, with_keypoints={self.with_keypoints})"


@TRANSFORMS.register_module()
class KeypointFilterAnnotations(KeypointsInStep, FilterAnnotations):
    """mmdet's FilterAnnotations, with keypoints."""
