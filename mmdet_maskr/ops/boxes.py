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
    return boxes.clamp(min=0).minimum(constant((width, height, width, height), boxes))


def rescaled(boxes: Tensor, scale_factor: Sequence[float]) -> Tensor:
    """Boxes (N, 4) in pixels of the original image.

    Args:
        boxes: in pixels of the network's input.
        scale_factor: pixels of the input per pixel of the image, (x, y).
    """
    return boxes / constant([*scale_factor, *scale_factor], boxes)


def rois_of(boxes: Sequence[Sequence[Tensor]]) -> Tensor:
    """RoIs (N, 5) of a batch: image index, x1, y1, x2, y2.

    Args:
        boxes: for each image one or more tensors (n, 4), without gradients.
    """
    every = [own for of_image in boxes for own in of_image]
    rois = every[0].new_empty(sum(map(len, every)), 5)
    torch.cat(every, out=rois[:, 1:])
    counts = [sum(map(len, of_image)) for of_image in boxes]
    for index, own in enumerate(rois.split(counts)):
        own[:, 0] = index
    return rois
