"""The keypoint branch: the head, and the codec between keypoints and heatmaps."""

from mmdet_maskr.models.keypoint_heads.codec import HeatmapCodec
from mmdet_maskr.models.keypoint_heads.keypoint_head import HeatmapKeypointHead

__all__ = ["HeatmapCodec", "HeatmapKeypointHead"]
