"""RoI heads: the parallel branches of Mask R-CNN, res5 before them, a cascade, PointRend."""

from mmdet_maskr.models.roi_heads.cascade_roi_head import AveragedCascadeRoIHead
from mmdet_maskr.models.roi_heads.parallel_roi_head import ParallelRoIHead
from mmdet_maskr.models.roi_heads.point_rend_roi_head import MaskRPointRendRoIHead
from mmdet_maskr.models.roi_heads.res5_head import FreeWidthStage, Res5Head

__all__ = [
    "AveragedCascadeRoIHead",
    "FreeWidthStage",
    "MaskRPointRendRoIHead",
    "ParallelRoIHead",
    "Res5Head",
]
