"""Dense heads: the region proposal network."""

from mmdet_maskr import old_names
from mmdet_maskr.models.dense_heads.rpn_head import SampledRPNHead

__all__ = ["SampledRPNHead"]

__getattr__ = old_names.getter(__name__)
