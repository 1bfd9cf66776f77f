"""Model parts: what mmdet has not got, or has in another form."""

from mmdet_maskr.models.dense_heads import MaskRRPNHead
from mmdet_maskr.models.keypoint_heads import HeatmapKeypointHead
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.roi_extractors import FPNRoIExtractor
from mmdet_maskr.models.roi_heads import ParallelRoIHead
from mmdet_maskr.models.tta import InstanceTTAModel

__all__ = [
    "ComposedMaskHead",
    "FPNRoIExtractor",
    "HeatmapKeypointHead",
    "InstanceTTAModel",
    "MaskRRPNHead",
    "ParallelRoIHead",
]
