"""Loading masks as geometry, and keypoints with boxes and masks; filtering all together."""

from __future__ import annotations

import numpy as np
from mmdet.datasets.transforms import FilterAnnotations, LoadAnnotations
from mmdet.registry import TRANSFORMS

from mmdet_maskr.cli.spelling import call
from mmdet_maskr.coco.form import annotated_keypoints
from mmdet_maskr.datasets.transforms._in_step import KeypointsInStep, is_unmoved, record_step
from mmdet_maskr.errors import UserError
from mmdet_maskr.structures import GeometryMasks
from mmdet_maskr.structures.shapes import Polygons

BOX_ONLY = "box_only"  # of an instance whose mask is its box, as the file has none


@TRANSFORMS.register_module()
class LoadInstanceAnnotations(LoadAnnotations):
    """mmdet's LoadAnnotations whose masks stay geometry until someone asks for pixels.

    Args:
        poly2mask: None for :class:`.GeometryMasks`, polygons and RLEs alike; True for mmdet's
            bitmaps of the size of the image; False for mmdet's polygons, without RLEs.
        kwargs: LoadAnnotations' other options.

    Raises:
        UserError: an RLE of another size than its image.
    """

    def __init__(self, poly2mask: bool | None = None, **kwargs) -> None:
        # geometry takes what bitmaps do, so all else is done and checked as for them
        super().__init__(poly2mask=poly2mask is not False, **kwargs)
        self.as_geometry = poly2mask is None

    def _load_masks(self, results: dict) -> None:
        """Set ``gt_masks``; what mmdet leaves out is left out."""
        if not self.as_geometry:
            return super()._load_masks(results)
        masks = self._process_masks(results)
        for i, instance in enumerate(results.get("instances", ())):
            if instance.get(BOX_ONLY):
                masks[i] = Polygons.of(masks[i], known=False)
        try:
            results["gt_masks"] = GeometryMasks(masks, *results["ori_shape"])
        except UserError as error:
            image = results.get("img_path") or f"image {results.get('img_id')}"
            raise UserError(
                f"{image}: {error} {call('check FILE')} lists such annotations."
            ) from None

    def __repr__(self) -> str:
        shown = super().__repr__()
        return shown.replace("poly2mask=True", "poly2mask=None") if self.as_geometry else shown


@TRANSFORMS.register_module()
class LoadKeypointAnnotations(LoadInstanceAnnotations):
    """mmdet's LoadAnnotations that reads keypoints too.

    ``gt_keypoints``: (N, K, 3) float32 x, y, v, in the order of ``gt_bboxes``, ignored instances
    included. COCO's files hold pixel indices; x and y are continuous, as boxes are: 0.5 more (as
    in Detectron2). All zeros where v is 0. An image without the key ``instances`` (an inferencer's)
    has no ground truth and gets no ``gt_keypoints``.

    Args:
        with_keypoints: read them.
        poly2mask: None for masks that stay geometry, see :class:`LoadInstanceAnnotations`; True
            (default) and False as LoadAnnotations'.
        kwargs: LoadAnnotations' other options.

    Raises:
        UserError: keypoints without boxes; a dataset that gives none, or another number.
    """

    def __init__(
        self, with_keypoints: bool = True, poly2mask: bool | None = True, **kwargs
    ) -> None:
        super().__init__(poly2mask=poly2mask, with_keypoints=with_keypoints, **kwargs)
        if with_keypoints and not self.with_bbox:
            raise UserError(
                "LoadKeypointAnnotations(with_bbox=False) cannot assign keypoints to "
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
                f"{image}: the dataset has no keypoints (keypoint_flip_indices is missing). "
                "Use CocoKeypointDataset or CocoJointDataset, or "
                "LoadKeypointAnnotations(with_keypoints=False)."
            )
        number = len(results["keypoint_flip_indices"])
        instances = results["instances"]
        keypoints = np.zeros((len(instances), number, 3), np.float32)
        for row, instance in zip(keypoints, instances, strict=True):
            given = np.asarray(instance.get("keypoints", ()), np.float32)
            if given.size != row.size:
                raise UserError(
                    f"{image}: an instance (box {instance['bbox']}) has {given.size} keypoint "
                    f"values instead of 3 * {number}."
                )
            row[:] = given.reshape(number, 3)
        results["gt_keypoints"] = annotated_keypoints(keypoints).astype(np.float32)
        record_step(results, in_image_frame=is_unmoved(results.get("homography_matrix")))

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, with_keypoints={self.with_keypoints})"


@TRANSFORMS.register_module()
class KeypointFilterAnnotations(KeypointsInStep, FilterAnnotations):
    """mmdet's FilterAnnotations, with keypoints."""
