"""Transforms that move boxes, masks and keypoints together, or raise an error."""

from mmdet_maskr.datasets.transforms._in_step import move_keypoints, record_step
from mmdet_maskr.datasets.transforms.affine import KeypointRandomAffine
from mmdet_maskr.datasets.transforms.bands import InferencerBandsLoader, LoadBands
from mmdet_maskr.datasets.transforms.copy_paste import InstanceCopyPaste
from mmdet_maskr.datasets.transforms.geometric import (
    KeypointPad,
    KeypointRandomCrop,
    KeypointRandomFlip,
    KeypointResize,
)
from mmdet_maskr.datasets.transforms.loading import (
    KeypointFilterAnnotations,
    LoadInstanceAnnotations,
    LoadKeypointAnnotations,
)
from mmdet_maskr.datasets.transforms.packing import (
    PackImagePath,
    PackInstanceInputs,
    PackKeypointInputs,
)
from mmdet_maskr.datasets.transforms.pipeline_check import check_pipeline
from mmdet_maskr.datasets.transforms.resize import SourceResize
from mmdet_maskr.datasets.transforms.with_masks import (
    InstanceCachedMixUp,
    InstanceCachedMosaic,
    InstanceMixUp,
    InstanceMosaic,
    InstanceRandomShift,
    InstanceRotate,
    InstanceShearX,
    InstanceShearY,
)

__all__ = [
    "InferencerBandsLoader",
    "InstanceCachedMixUp",
    "InstanceCachedMosaic",
    "InstanceCopyPaste",
    "InstanceMixUp",
    "InstanceMosaic",
    "InstanceRandomShift",
    "InstanceRotate",
    "InstanceShearX",
    "InstanceShearY",
    "KeypointFilterAnnotations",
    "KeypointPad",
    "KeypointRandomAffine",
    "KeypointRandomCrop",
    "KeypointRandomFlip",
    "KeypointResize",
    "LoadBands",
    "LoadInstanceAnnotations",
    "LoadKeypointAnnotations",
    "PackImagePath",
    "PackInstanceInputs",
    "PackKeypointInputs",
    "SourceResize",
    "check_pipeline",
    "move_keypoints",
    "record_step",
]
