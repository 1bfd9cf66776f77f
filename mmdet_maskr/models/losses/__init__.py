"""Losses that mmdet has not got."""

from mmdet_maskr.models.losses.unused_classes import UnusedClassesCrossEntropyLoss

__all__ = ["UnusedClassesCrossEntropyLoss"]
