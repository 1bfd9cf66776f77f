"""Evaluation: COCO's scores of boxes, masks and keypoints by one metric."""

from mmdet_maskr.evaluation.coco_metric import CocoInstanceMetric

__all__ = ["CocoInstanceMetric"]
