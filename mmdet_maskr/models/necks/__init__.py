"""Necks that mmdet does not have: the simple feature pyramid for plain backbones."""

from mmdet_maskr.models.necks.simple_feature_pyramid import ChannelLayerNorm, SimpleFeaturePyramid

__all__ = ["ChannelLayerNorm", "SimpleFeaturePyramid"]
