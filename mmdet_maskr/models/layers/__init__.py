"""Layers that mmcv lacks."""

from mmdet_maskr.models.layers.frozen_batch_norm import UnfusedFrozenBN

__all__ = ["UnfusedFrozenBN"]
