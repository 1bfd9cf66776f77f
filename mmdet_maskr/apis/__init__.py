"""Python interfaces: a few lines that do what one means."""

from mmdet_maskr.apis.inferencer import MaskRInferencer

__all__ = ["MaskRInferencer"]
