"""Mask heads: towers and predictors, freely combined."""

from mmdet_maskr.models.mask_heads.interleaved_mask_head import InterleavedMaskHead
from mmdet_maskr.models.mask_heads.mask_head import ComposedMaskHead

__all__ = ["ComposedMaskHead", "InterleavedMaskHead"]
