"""Model parts that mmdet does not have, or has in another form."""

from mmdet.registry import MODELS

from mmdet_maskr import adjustments, old_names
from mmdet_maskr.models.backbones import EfficientNetLite, FreeWidthResNet, PlainViT, TimmBackbone
from mmdet_maskr.models.data_preprocessors import (
    BandsDataPreprocessor,
    BatchedDataPreprocessor,
    UnitRangePreprocessor,
)
from mmdet_maskr.models.dense_heads import SampledRPNHead
from mmdet_maskr.models.keypoint_heads import HeatmapKeypointHead
from mmdet_maskr.models.layers import SeparableConv2d, UnfusedFrozenBN
from mmdet_maskr.models.losses import UnusedClassesCrossEntropyLoss
from mmdet_maskr.models.mask_heads import ComposedMaskHead, InterleavedMaskHead
from mmdet_maskr.models.necks import ChannelLayerNorm, SimpleFeaturePyramid
from mmdet_maskr.models.roi_extractors import LevelRoIExtractor
from mmdet_maskr.models.roi_heads import (
    AveragedCascadeRoIHead,
    FreeWidthStage,
    MaskRPointRendRoIHead,
    ParallelRoIHead,
    Res5Head,
)
from mmdet_maskr.models.task_modules import SizedAnchorGenerator, WeightedBoxCoder
from mmdet_maskr.models.tta import InstanceTTAModel

__all__ = [
    "AveragedCascadeRoIHead",
    "BandsDataPreprocessor",
    "BatchedDataPreprocessor",
    "ChannelLayerNorm",
    "ComposedMaskHead",
    "EfficientNetLite",
    "FreeWidthResNet",
    "FreeWidthStage",
    "HeatmapKeypointHead",
    "InstanceTTAModel",
    "InterleavedMaskHead",
    "LevelRoIExtractor",
    "MaskRPointRendRoIHead",
    "ParallelRoIHead",
    "PlainViT",
    "Res5Head",
    "SampledRPNHead",
    "SeparableConv2d",
    "SimpleFeaturePyramid",
    "SizedAnchorGenerator",
    "TimmBackbone",
    "UnfusedFrozenBN",
    "UnitRangePreprocessor",
    "UnusedClassesCrossEntropyLoss",
    "WeightedBoxCoder",
]

old_names.register(MODELS)
__getattr__ = old_names.getter(__name__)

adjustments.apply()
