"""RoI heads: the parallel branches of Mask R-CNN, res5 before them, a cascade."""

from mmdet_maskr.models.roi_heads.cascade_roi_head import AveragedCascadeRoIHead
from mmdet_maskr.models.roi_heads.parallel_roi_head import ParallelRoIHead
from mmdet_maskr.models.roi_heads.res5_head import Res5Head

__all__ = ["AveragedCascadeRoIHead", "ParallelRoIHead", "Res5Head"]
