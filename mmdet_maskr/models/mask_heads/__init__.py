"""Mask heads: towers and predictors, freely combined."""

from mmdet_maskr.models.mask_heads.conv_mask_head import ConvMaskHead
from mmdet_maskr.models.mask_heads.interleaved_mask_head import InterleavedMaskHead
from mmdet_maskr.models.mask_heads.mask_head import ComposedMaskHead
from mmdet_maskr.models.mask_heads.mlp_mask_head import MLPMaskHead

__all__ = ["ComposedMaskHead", "ConvMaskHead", "InterleavedMaskHead", "MLPMaskHead"]
