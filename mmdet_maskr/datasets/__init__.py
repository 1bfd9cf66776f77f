"""Datasets with checks (any folder, COCO, Cityscapes, LVIS, VOC, shapes), and their transforms."""

from mmdet_maskr import adjustments
from mmdet_maskr.datasets import transforms
from mmdet_maskr.datasets.any_folder import AnyInstanceDataset, AnyKeypointDataset
from mmdet_maskr.datasets.cityscapes import CityscapesInstanceDataset
from mmdet_maskr.datasets.coco_instance import CocoInstanceDataset
from mmdet_maskr.datasets.coco_keypoint import CocoJointDataset, CocoKeypointDataset
from mmdet_maskr.datasets.lvis import LVISInstanceDataset
from mmdet_maskr.datasets.shapes.dataset import ShapesDataset
from mmdet_maskr.datasets.voc import VOCBoxDataset

__all__ = [
    "AnyInstanceDataset",
    "AnyKeypointDataset",
    "CityscapesInstanceDataset",
    "CocoInstanceDataset",
    "CocoJointDataset",
    "CocoKeypointDataset",
    "LVISInstanceDataset",
    "ShapesDataset",
    "VOCBoxDataset",
    "transforms",
]

adjustments.apply()
