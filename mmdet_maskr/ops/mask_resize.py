"""Pasting of m x m masks as torchvision does it: boxes of whole pixels, masks resized to them.

A mask gets a border of one zero, its box grows by (m + 2) / m, corners lose their fractions, the
mask is resized to the box (its last pixel included), and what lies in the image is kept.

Symbols: N masks, m x m their size, H x W the image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops._workers import for_each
from mmdet_maskr.ops.mask_paste import PIECE, Crop, check_masks


def paste_resized_masks(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float = 0.5
) -> Tensor:
    """Paste masks into an image of their boxes' scale, on the CPU.

    Args:
        masks: (N, m, m) probabilities.
        boxes: (N, 4) xyxy in pixels of the image.
        height: H.
        width: W.
        threshold: pixels with at least this probability are inside.

    Returns:
        (N, H, W) bool, on the masks' device.

    Raises:
        UserError: a negative threshold, a box that is infinite or NaN, or shapes that disagree.
    """
    if threshold < 0:
        raise UserError(
            f"mask_thr_binary={threshold} asks for grey masks, which convention='torchvision' does "
            "not give: use a threshold of 0 to 1."
        )
    check_masks(masks, boxes)
    pasted = np.zeros((len(masks), height, width), np.bool_)

    def write(crop: Crop) -> None:
        pasted[crop.index, crop.y0 : crop.y1, crop.x0 : crop.x1] = crop.inside

    for_each_resized_crop(write, masks.cpu(), boxes.cpu(), height, width, threshold)
    return torch.from_numpy(pasted).to(masks.device)


def for_each_resized_crop(
    work: Callable[[Crop], None],
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
    columns: bool = False,
) -> None:
    """Call ``work`` with the pixels of each mask that reaches into the image.

    Takes what :func:`mmdet_maskr.ops.mask_paste.for_each_crop` takes: masks (N, m, m), boxes (N, 4)
    xyxy in pixels of the image.
    """
    padded = F.pad(masks.detach().float(), (1, 1, 1, 1))
    corners = _grown(boxes.detach().float(), masks.shape[-1]).tolist()

    def crops_of(part: range) -> None:
        for i in part:
            left, top, right, bottom = corners[i]
            x0, y0 = max(left, 0), max(top, 0)
            x1, y1 = min(right + 1, width), min(bottom + 1, height)
            if x0 >= x1 or y0 >= y1:
                continue
            size = (max(bottom - top + 1, 1), max(right - left + 1, 1))
            values = F.interpolate(padded[i, None, None], size, mode="bilinear")[0, 0]
            inside = (values[y0 - top : y1 - top, x0 - left : x1 - left] >= threshold).numpy()
            inside = np.ascontiguousarray(inside.T) if columns else inside
            work(Crop(i, x0, y0, x1, y1, inside))

    count = len(masks)
    for_each(crops_of, [range(i, min(i + PIECE, count)) for i in range(0, count, PIECE)])


def _grown(boxes: Tensor, size: int) -> Tensor:
    """(N, 4) int64: boxes grown by (m + 2) / m about their centres, without their fractions."""
    scale = (size + 2) / size
    centres = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    halves = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * scale
    return torch.cat([centres - halves, centres + halves], 1).long()
