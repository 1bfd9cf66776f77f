"""Python interfaces: the inferencer and what belongs to it."""

from mmdet_maskr.apis.inferencer import MaskRInferencer

__all__ = ["MaskRInferencer"]
