"""Anchors and box coders in the conventions of Detectron2 and torchvision."""

from mmdet_maskr.models.task_modules.anchor_generator import SizedAnchorGenerator
from mmdet_maskr.models.task_modules.box_coder import WeightedBoxCoder

__all__ = ["SizedAnchorGenerator", "WeightedBoxCoder"]
