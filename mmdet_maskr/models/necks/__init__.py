"""Necks that mmdet lacks: the simple feature pyramid of plain backbones."""

from mmdet_maskr.models.necks.simple_feature_pyramid import ChannelLayerNorm, SimpleFeaturePyramid

__all__ = ["ChannelLayerNorm", "SimpleFeaturePyramid"]
