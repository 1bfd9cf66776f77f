"""RoI layers, NMS and masks: tensor functions and small modules that know no detectors.

They import torch, mmcv, NumPy, OpenCV, and of this package what knows no more than they do.
"""

from mmdet_maskr.ops.keypoint_decode import decode_heatmaps
from mmdet_maskr.ops.roi_align import RoIAlign, roi_align, roi_align_pyramid
from mmdet_maskr.ops.roi_pool import RoIPool, roi_pool, roi_pool_pyramid
from mmdet_maskr.ops.roi_warp import RoIWarp, roi_warp, roi_warp_pyramid

__all__ = [
    "RoIAlign",
    "RoIPool",
    "RoIWarp",
    "decode_heatmaps",
    "roi_align",
    "roi_align_pyramid",
    "roi_pool",
    "roi_pool_pyramid",
    "roi_warp",
    "roi_warp_pyramid",
]
