"""The shapes as a dataset to train on."""

from __future__ import annotations

from mmdet.registry import DATASETS

from mmdet_maskr.datasets.coco_keypoint import CocoKeypointDataset
from mmdet_maskr.datasets.shapes.meta import CLASSES, KEYPOINT_META, PALETTE


@DATASETS.register_module()
class ShapesDataset(CocoKeypointDataset):
    """The synthetic shapes of :mod:`mmdet_maskr.datasets.shapes` (``maskr shapes``)."""

    METAINFO = dict(classes=CLASSES, palette=list(PALETTE), **KEYPOINT_META)
