"""Python interface: the inferencer and its parts."""

from mmdet_maskr.apis.inferencer import MaskRInferencer

__all__ = ["MaskRInferencer"]
