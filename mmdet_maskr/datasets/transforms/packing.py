"""Packing ground truth with keypoints, after a last check that they are in step."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS

from mmdet_maskr.datasets.transforms._in_step import check_in_step
from mmdet_maskr.errors import UserError

_META_KEYS = inspect.signature(PackDetInputs).parameters["meta_keys"].default


@TRANSFORMS.register_module()
class PackKeypointInputs(PackDetInputs):
    """mmdet's PackDetInputs that packs ``gt_keypoints`` as ``gt_instances.keypoints`` (N, K, 3).

    Args:
        meta_keys: default mmdet's and ``keypoint_flip_indices`` (K ints).

    Raises:
        UserError: keypoints and boxes differ in number, or image or boxes were moved without the
            keypoints.
    """

    mapping_table = {**PackDetInputs.mapping_table, "gt_keypoints": "keypoints"}

    def __init__(self, meta_keys: Sequence[str] = (*_META_KEYS, "keypoint_flip_indices")) -> None:
        super().__init__(meta_keys=meta_keys)

    def transform(self, results: dict) -> dict:
        """Check the keypoints, where there are any, and pack."""
        if results.get("gt_keypoints") is not None:
            keypoints, boxes = len(results["gt_keypoints"]), len(results.get("gt_bboxes", ()))
            if keypoints != boxes:
                image = results.get("img_path") or f"image {results.get('img_id')}"
                raise UserError(
                    f"{image}: {boxes} boxes but keypoints of {keypoints} instances; a transform "
                    "added or took away instances without their keypoints."
                )
            check_in_step(results)
        return super().transform(results)
