"""Pasting of m x m masks as torchvision does it: boxes of whole pixels, masks resized to them.

A mask gets a border of one zero, its box grows by (m + 2) / m, corners lose their fractions, the
mask is resized to the box (its last pixel included), and what lies in the image is kept.

Symbols: N masks, m x m their size, H x W the image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.mask_crops import Crop


def resized_crops(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, columns: bool
) -> Callable[[int], Crop | None]:
    """The pixels of masks (N, m, m) in boxes (N, 4); see :func:`.mask_paste.paste_masks`."""
    padded = F.pad(masks, (1, 1, 1, 1))
    corners = _grown(boxes, masks.shape[-1]).tolist()

    def crop_of(i: int) -> Crop | None:
        left, top, right, bottom = corners[i]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(right + 1, width), min(bottom + 1, height)
        if x0 >= x1 or y0 >= y1:
            return None
        size = (max(bottom - top + 1, 1), max(right - left + 1, 1))
        values = F.interpolate(padded[i, None, None], size, mode="bilinear")[0, 0]
        inside = values[y0 - top : y1 - top, x0 - left : x1 - left] >= threshold
        return Crop(inside.numpy(), x0, y0)

    return crop_of


def _grown(boxes: Tensor, size: int) -> Tensor:
    """(N, 4) int64: boxes grown by (m + 2) / m about their centers, without their fractions."""
    scale = (size + 2) / size
    centers = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    halves = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * scale
    return torch.cat([centers - halves, centers + halves], 1).long()
