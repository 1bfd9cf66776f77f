"""Data sets: COCO, Cityscapes, LVIS and VOC with checks, and the synthetic shapes."""

from mmdet_maskr.datasets.cityscapes import CityscapesInstanceDataset
from mmdet_maskr.datasets.coco_instance import CocoInstanceDataset, ShapesDataset
from mmdet_maskr.datasets.lvis import LVISInstanceDataset
from mmdet_maskr.datasets.voc import VOCBoxDataset

__all__ = [
    "CityscapesInstanceDataset",
    "CocoInstanceDataset",
    "LVISInstanceDataset",
    "ShapesDataset",
    "VOCBoxDataset",
]
