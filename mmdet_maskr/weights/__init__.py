"""Checkpoints of Detectron2, torchvision and mmdet, converted strictly."""

from mmdet_maskr.weights.convert import from_detectron2, from_mmdet, from_torchvision
from mmdet_maskr.weights.output import Conversion, save
from mmdet_maskr.weights.own_classes import with_own_classes

__all__ = [
    "Conversion",
    "from_detectron2",
    "from_mmdet",
    "from_torchvision",
    "save",
    "with_own_classes",
]
