"""Layers that mmcv lacks."""

from mmdet_maskr.models.layers.frozen_batch_norm import UnfusedFrozenBN
from mmdet_maskr.models.layers.separable_conv import SeparableConv2d

__all__ = ["SeparableConv2d", "UnfusedFrozenBN"]
