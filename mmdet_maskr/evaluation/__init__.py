"""Metrics: how predictions are scored."""

from mmdet_maskr import adjustments
from mmdet_maskr.evaluation.cityscapes_metric import CityscapesInstanceMetric
from mmdet_maskr.evaluation.coco_metric import CocoInstanceMetric
from mmdet_maskr.evaluation.lvis_metric import LVISInstanceMetric

__all__ = ["CityscapesInstanceMetric", "CocoInstanceMetric", "LVISInstanceMetric"]

adjustments.apply()
