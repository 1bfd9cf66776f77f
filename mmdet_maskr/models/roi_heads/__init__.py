"""RoI heads: the parallel branches of Mask R-CNN."""

from mmdet_maskr.models.roi_heads.parallel_roi_head import ParallelRoIHead

__all__ = ["ParallelRoIHead"]
