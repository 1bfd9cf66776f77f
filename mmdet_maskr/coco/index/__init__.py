"""Annotation files as arrays: read once, checked, and shared by all processes of a machine."""

from mmdet_maskr.coco.index.annotation_index import AnnotationIndex, open_index
from mmdet_maskr.coco.index.columns import Flag
from mmdet_maskr.coco.index.usage import Usage, usage_of

__all__ = ["AnnotationIndex", "Flag", "Usage", "open_index", "usage_of"]
