"""RoI layers: tensor functions and small modules that know torch and mmcv, but no detectors."""

from mmdet_maskr.ops.roi_align import RoIAlign, roi_align, roi_align_pyramid
from mmdet_maskr.ops.roi_pool import RoIPool, roi_pool, roi_pool_pyramid
from mmdet_maskr.ops.roi_warp import RoIWarp, roi_warp, roi_warp_pyramid

__all__ = [
    "RoIAlign",
    "RoIPool",
    "RoIWarp",
    "roi_align",
    "roi_align_pyramid",
    "roi_pool",
    "roi_pool_pyramid",
    "roi_warp",
    "roi_warp_pyramid",
]
