"""Backbones that mmdet does not have: plain ViT, ResNets of any width, light backbones."""

from mmdet_maskr.models.backbones.efficientnet_lite import EfficientNetLite
from mmdet_maskr.models.backbones.inflated import PretrainedBandsInit
from mmdet_maskr.models.backbones.resnet import FreeWidthResNet
from mmdet_maskr.models.backbones.timm_backbone import TimmBackbone
from mmdet_maskr.models.backbones.vit import PlainViT

__all__ = ["EfficientNetLite", "FreeWidthResNet", "PlainViT", "PretrainedBandsInit", "TimmBackbone"]
