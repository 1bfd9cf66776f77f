"""Boxes clipped to an image and carried to another scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_maskr.ops.constants import constant


def clipped(boxes: Tensor, image_shape: Sequence[int]) -> Tensor:
    """Boxes clipped to an image.

    Args:
        boxes: (N, 4) or (N, K, 4) xyxy in pixels.
        image_shape: height and width.
    """
    height, width = image_shape[:2]
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x, y], -1).flatten(-2)


def rescaled(boxes: Tensor, scale_factor: Sequence[float]) -> Tensor:
    """Boxes (N, 4) in pixels of the original image.

    Args:
        boxes: in pixels of the network's input.
        scale_factor: pixels of the input per pixel of the image, (x, y).
    """
    return boxes / constant([*scale_factor, *scale_factor], boxes)
