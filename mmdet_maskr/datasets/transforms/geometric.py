"""mmdet's geometric transforms, extended to keypoints.

Each takes its base's options and does exactly what its base does to image, boxes, masks and meta.
Random scales: mmcv's RandomResize, RandomChoiceResize and mmdet's ResizeShortestEdge with
``resize_type='KeypointResize'``; large scale jitter is RandomResize, KeypointRandomCrop,
KeypointPad.
"""

from __future__ import annotations

from mmdet.datasets.transforms import Pad, RandomCrop, RandomFlip, Resize
from mmdet.registry import TRANSFORMS

from mmdet_maskr.datasets.transforms._in_step import KeypointsInStep


@TRANSFORMS.register_module()
class KeypointResize(KeypointsInStep, Resize):
    """mmdet's Resize, with keypoints."""


@TRANSFORMS.register_module()
class KeypointRandomFlip(KeypointsInStep, RandomFlip):
    """mmdet's RandomFlip, with keypoints; left and right swap where the image is mirrored."""


@TRANSFORMS.register_module()
class KeypointRandomCrop(KeypointsInStep, RandomCrop):
    """mmdet's RandomCrop, with keypoints; those outside the crop lose their label."""


@TRANSFORMS.register_module()
class KeypointPad(KeypointsInStep, Pad):
    """mmdet's Pad (right and bottom). Keypoints stay; the new image size is recorded for them."""
