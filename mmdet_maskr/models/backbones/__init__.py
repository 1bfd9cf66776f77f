"""Backbones that mmdet lacks: the plain vision transformer, ResNets of free width."""

from mmdet_maskr.models.backbones.inflated import PretrainedBandsInit
from mmdet_maskr.models.backbones.resnet import FreeWidthResNet
from mmdet_maskr.models.backbones.vit import PlainViT

__all__ = ["FreeWidthResNet", "PlainViT", "PretrainedBandsInit"]
