"""Losses that mmdet lacks."""

from mmdet_maskr.models.losses.unused_classes import UnusedClassesCrossEntropyLoss

__all__ = ["UnusedClassesCrossEntropyLoss"]
