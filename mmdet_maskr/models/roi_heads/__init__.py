"""RoI heads: the parallel branches of Mask R-CNN, and res5 before them."""

from mmdet_maskr.models.roi_heads.parallel_roi_head import ParallelRoIHead
from mmdet_maskr.models.roi_heads.res5_head import Res5Head

__all__ = ["ParallelRoIHead", "Res5Head"]
