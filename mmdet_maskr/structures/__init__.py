"""Masks that stay geometry until pixels are needed, and mask targets from that geometry."""

from mmdet_maskr.structures.drawing import draw_in_boxes
from mmdet_maskr.structures.geometry_masks import GeometryMasks
from mmdet_maskr.structures.targets import targets_of

__all__ = ["GeometryMasks", "draw_in_boxes", "targets_of"]
