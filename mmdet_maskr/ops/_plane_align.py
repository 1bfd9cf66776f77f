"""RoIAlign of maps with one channel, such as masks: an axis at a time.

The sparse matrix of :mod:`._sampling_matrix` has a row for each bin. Multiplied out for one
channel, its indices cost more than what they fetch. The weights are separable, so rows of pixels
are summed first, then columns; each sum is over whole rows of memory.

Symbols: B planes, N RoIs, P x Q bins.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmdet_maskr.ops._sampling_matrix import AxisTaps, axis_taps, box_axes

BLOCK_BYTES = 16 * 2**20  # of the summed rows that are in memory at once


def align_planes(
    planes: Tensor,
    rois: NDArray,
    scale: float,
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Averages of bilinear samples, as :func:`mmdet_maskr.ops.roi_align` computes them.

    Args:
        planes: (B, H, W) float32 or float64, on a CPU.
        rois: (N, 5) image index, x1, y1, x2, y2, in the planes' type or a wider one.
        scale: pixels of a plane per pixel of the RoIs' image.
        output_size, sampling_ratio, aligned: see there.

    Returns:
        (N, P, Q). Pixels that no RoI reads may hold anything.
    """
    _, height, width = planes.shape
    start, size = box_axes(rois, np.array(scale, rois.dtype), aligned)
    count, (bins_y, bins_x) = len(rois), output_size
    lengths = (np.full(count, height), np.full(count, width))
    y = axis_taps(start[1], size[1], lengths[0], bins_y, sampling_ratio)
    x = axis_taps(start[0], size[0], lengths[1], bins_x, sampling_ratio)
    table = planes.contiguous().view(-1, width)
    first_row = rois[:, 0].astype(np.int64) * height
    out = planes.new_empty(count, bins_y, bins_x)
    step = max(1, BLOCK_BYTES // (bins_y * width * planes.element_size()))
    for begin in range(0, count, step):
        part = slice(begin, min(begin + step, count))
        n = part.stop - begin
        rows = _sums(table, y, part, first_row[part])  # (n * P, W)
        columns = rows.view(n, bins_y, width).transpose(1, 2).reshape(n * width, bins_y)
        sums = _sums(columns, x, part, np.arange(n) * width)  # (n * Q, P)
        out[part] = sums.view(n, bins_x, bins_y).transpose(1, 2)
    dead = y.dead[:, :, None] | x.dead[:, None]
    if dead.any():
        out.numpy()[dead] = 0
    return out


def _sums(table: Tensor, taps: AxisTaps, part: slice, first_row: NDArray) -> Tensor:
    """Weighted sums of the rows that each bin of some RoIs reads along an axis."""
    bins = taps.dead.shape[1]
    per_roi = taps.taps[part] * bins
    begin = int(taps.start[part.start]) if len(per_roi) else 0
    flat = slice(begin, begin + int(per_roi.sum()))
    offsets = np.zeros(len(per_roi) * bins + 1, np.int64)
    np.cumsum(np.repeat(taps.taps[part], bins), out=offsets[1:])
    return torch.embedding_bag(
        table,
        torch.from_numpy(taps.index[flat] + np.repeat(first_row, per_roi)),
        torch.from_numpy(offsets),
        mode=0,  # sum
        per_sample_weights=torch.from_numpy(taps.weight[flat]).to(table.dtype),
        include_last_offset=True,
    )[0]
