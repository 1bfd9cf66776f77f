"""Model parts: what mmdet has not got, or has in another form."""

from mmdet_maskr.models.dense_heads import MaskRRPNHead
from mmdet_maskr.models.roi_heads import ParallelRoIHead

__all__ = ["MaskRRPNHead", "ParallelRoIHead"]
