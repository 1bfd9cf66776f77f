"""Data sets with checked annotation files, and transforms that keep keypoints in step."""

from mmdet_maskr.datasets import transforms
from mmdet_maskr.datasets.coco_instance import CocoInstanceDataset
from mmdet_maskr.datasets.coco_keypoint import (
    CocoJointDataset,
    CocoKeypointDataset,
    ShapesDataset,
)

__all__ = [
    "CocoInstanceDataset",
    "CocoJointDataset",
    "CocoKeypointDataset",
    "ShapesDataset",
    "transforms",
]
