"""Greedy suppression of overlapping boxes, exact, without a loop over boxes.

Boxes are sorted, best first. Box j is dropped where a kept box i < j overlaps it by more than the
threshold. The decision is a fixed point: assume that all boxes are kept, drop what a kept box
suppresses, and repeat with those that are left. Box j is right as soon as all i < j are, so that
the first one that is wrong moves back with every pass; in practice a few passes are enough.

Overlaps are computed in the boxes' type and in the order of operations of MMCV's kernel
(mmcv/ops/csrc/pytorch/cpu/nms.cpp), so that both take the same side of the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 128  # boxes that are decided together on a CPU: their overlaps stay in the cache
MATRIX = 4096  # boxes that are decided together on another device: 16 million overlaps


def suppressed_rows(boxes: NDArray, threshold: float, offset: int = 0) -> NDArray:
    """Which boxes are dropped, on a CPU.

    Args:
        boxes: (N, 4) xyxy float32 or float64, best first.
        threshold: intersection over union above which the worse box goes.
        offset: 1 where x2 and y2 are the last pixel of a box, 0 where they are its edge.

    Returns:
        (N,) bool.
    """
    threshold = boxes.dtype.type(threshold)
    columns = np.ascontiguousarray(boxes.T)
    dropped = np.zeros(len(boxes), bool)
    kept = np.empty_like(columns)  # the boxes that are kept so far, in its first columns
    count = 0
    for begin in range(0, len(boxes), BLOCK):
        block = np.arange(begin, min(begin + BLOCK, len(boxes)))
        if count:
            hit = (overlaps(kept[:, :count], columns[:, block], offset) > threshold).any(0)
            dropped[block[hit]] = True
            block = block[~hit]
        own = columns[:, block]
        suppresses = np.triu(overlaps(own, own, offset) > threshold, 1)
        alive = np.ones(len(block), bool)
        while True:
            left = ~suppresses[alive].any(0)
            if np.array_equal(left, alive):
                break
            alive = left
        dropped[block[~alive]] = True
        chosen = own[:, alive]
        kept[:, count : count + chosen.shape[1]] = chosen
        count += chosen.shape[1]
    return dropped


def overlaps(better: NDArray, worse: NDArray, offset: int) -> NDArray:
    """(K, M) intersection over union of boxes (4, K) with boxes (4, M); NaN of two empty ones."""
    better = better[:, :, None]
    width = np.minimum(better[2], worse[2])
    width -= np.maximum(better[0], worse[0])
    height = np.minimum(better[3], worse[3])
    height -= np.maximum(better[1], worse[1])
    if offset:
        width += offset
        height += offset
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    union = _areas(better, offset) + _areas(worse, offset)
    union -= width
    with np.errstate(divide="ignore", invalid="ignore"):
        width /= union
    return width


def _areas(boxes: NDArray, offset: int) -> NDArray:
    return (boxes[2] - boxes[0] + offset) * (boxes[3] - boxes[1] + offset)


def kept_on_device(boxes: Tensor, threshold: float, offset: int = 0) -> Tensor:
    """:func:`suppressed_rows` with torch, on any device: (N,) bool, which boxes are kept.

    Up to MATRIX boxes are decided in one go. More go block by block: a block meets the boxes that
    are kept before it.
    """
    limit = torch.tensor(threshold, dtype=boxes.dtype)  # rounded as MMCV's float
    keep = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for begin, end in _ranges(len(boxes)):
        block = boxes[begin:end]
        alive = keep[begin:end]
        for first, last in _ranges(begin):
            over = _device_overlaps(boxes[first:last], block, offset) > limit
            alive &= ~(over & keep[first:last, None]).any(0)
        suppresses = (_device_overlaps(block, block, offset) > limit).triu(1)
        start = alive.clone()
        while True:
            left = start & ~(suppresses & alive[:, None]).any(0)
            if torch.equal(left, alive):
                break
            alive = left
        keep[begin:end] = alive
    return keep


def _ranges(count: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, count, MATRIX):
        yield begin, min(begin + MATRIX, count)


def _device_overlaps(better: Tensor, worse: Tensor, offset: int) -> Tensor:
    area = (better[:, 2] - better[:, 0] + offset) * (better[:, 3] - better[:, 1] + offset)
    other = (worse[:, 2] - worse[:, 0] + offset) * (worse[:, 3] - worse[:, 1] + offset)
    low = torch.maximum(better[:, None, :2], worse[:, :2])
    size = torch.minimum(better[:, None, 2:], worse[:, 2:]) - low + offset
    size = size.clamp(min=0)
    inside = size[..., 0] * size[..., 1]
    return inside / (area[:, None] + other - inside)
