"""Pictures: instances drawn on images, ground truth next to predictions, curves of a training."""

from mmdet_maskr import adjustments
from mmdet_maskr.visualization.visualizer import InstanceVisualizer

__all__ = ["InstanceVisualizer"]

adjustments.apply()
