"""Dense heads: the region proposal network."""

from mmdet_maskr.models.dense_heads.rpn_head import MaskRRPNHead

__all__ = ["MaskRRPNHead"]
