"""Masks as sets of runs, with NumPy alone: moved, cut, joined and measured without their pixels.

Runs (R,) are an even number of rising integers: a mask begins, ends, begins, ... at these pixels of
an image of height H, counted down its columns, as :func:`mmdet_maskr.run_lengths.changes` gives
them. They are 64 bits wide, so images may have more pixels than COCO's 32 bits count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_maskr.run_lengths import decompress

EMPTY = np.zeros(0, np.int64)


def of_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """The runs of COCO's RLE, compressed or not.

    Raises:
        ValueError: its ``counts`` are none.
    """
    counts = rle["counts"]
    lengths = np.asarray(counts, np.int64) if isinstance(counts, list) else decompress(counts)
    if lengths is None:
        raise ValueError("the counts of an RLE are damaged.")
    ends = np.cumsum(lengths)
    return ends[: len(ends) // 2 * 2]  # an odd number ends outside of the mask


def moved(runs: np.ndarray, height: int, x0: int, y0: int, new_height: int) -> np.ndarray:
    """Runs of a window of an image as runs of the image.

    Args:
        runs: (R,) int64, of the window.
        height: of the window, in pixels.
        x0: first column of the window in the image.
        y0: its first row.
        new_height: H of the image.

    Returns:
        (S,) int64, of the image; a run becomes several where columns do not touch any more.
    """
    starts, ends = runs[0::2], runs[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    first = starts // height
    columns = (ends - 1) // height - first + 1  # that each run crosses
    row = np.repeat(np.arange(len(starts)), columns)
    column = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(columns) - columns, columns)
    low = np.maximum(starts[row] - column * height, 0)
    high = np.minimum(ends[row] - column * height, height)
    shift = (x0 + column) * new_height + y0
    return union([np.stack([low + shift, high + shift], 1).ravel()])


def rectangle(x0: int, y0: int, x1: int, y1: int, height: int) -> np.ndarray:
    """The runs of the pixels from (x0, y0) up to, and without, (x1, y1)."""
    if x1 <= x0 or y1 <= y0:
        return EMPTY
    columns = np.arange(x0, x1, dtype=np.int64)[:, None] * height
    return union([(columns + np.array([y0, y1])).ravel()])


def area(runs: np.ndarray) -> int:
    """The number of pixels of runs (R,)."""
    return int(runs[1::2].sum() - runs[0::2].sum())


def union(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The runs (R,) of the pixels of any of several masks, each (R_i,)."""
    return _at_least(1, masks)


def common(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The runs (R,) of the pixels that all of several masks have, each (R_i,)."""
    return _at_least(len(masks), masks)


def cut(runs: np.ndarray, box: Sequence[int], height: int) -> np.ndarray:
    """The part of a mask in a box.

    Args:
        runs: (R,) int64, of the mask.
        box: x0, y0, x1, y1 in whole pixels; x1 and y1 are the first ones outside.
        height: H of the image.

    Returns:
        (S,) int64, of the same image.
    """
    if not len(runs):
        return runs
    x0, x1 = max(box[0], int(runs[0]) // height), min(box[2], int(runs[-1] - 1) // height + 1)
    return common([runs, rectangle(x0, box[1], x1, box[3], height)])


def _at_least(count: int, masks: Sequence[np.ndarray]) -> np.ndarray:
    positions = np.concatenate([EMPTY, *masks])
    steps = np.ones(len(positions), np.int64)
    steps[1::2] = -1
    order = np.argsort(positions, kind="stable")
    positions, covered = positions[order], np.cumsum(steps[order])
    last = np.append(positions[1:] != positions[:-1], True)[: len(positions)]
    positions, inside = positions[last], covered[last] >= count
    return positions[np.diff(inside, prepend=False)]
