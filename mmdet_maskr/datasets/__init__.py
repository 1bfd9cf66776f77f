"""Data sets: COCO instances with checked class names, and the synthetic shapes."""

from mmdet_maskr.datasets.coco_instance import CocoInstanceDataset, ShapesDataset

__all__ = ["CocoInstanceDataset", "ShapesDataset"]
