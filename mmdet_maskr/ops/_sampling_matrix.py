"""RoIAlign as one sparse matrix: which pixels each bin reads, and with which weight.

RoIAlign with average pooling is linear in the features: ``bins = S @ pixels``, where row (n, p, q)
of S holds the bilinear weights of all samples in bin (p, q) of RoI n. The weights are separable,
so S is built from the taps of each axis, a few thousand numbers, and then multiplied out.

The arithmetic follows mmcv's kernel (mmcv/ops/csrc/pytorch/cpu/roi_align.cpp) in the same order of
float operations. NumPy, as tens of operations on small arrays cost less there than in torch.

Symbols: N RoIs, P bins along an axis, K taps of a bin along an axis, T taps in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class AxisTaps:
    """What the bins of N RoIs read along one axis. The flat arrays are (n, p, k) in order."""

    taps: NDArray  # (N,) taps K_n of each bin of RoI n
    start: NDArray  # (N,) where RoI n begins in the flat arrays
    index: NDArray  # (sum P * K_n,) pixel
    weight: NDArray  # (sum P * K_n,) in the RoIs' type
    dead: NDArray  # (N, P) bool, bins without a sample in the map


@dataclass
class SamplingMatrix:
    """A sparse matrix in compressed rows: the bins of n RoIs x the rows of a pixel table.

    RoIs with the same number of taps stand together, so that the arrays fill in dense blocks.
    """

    rois: NDArray  # (n,) rows of the RoI tensor, in the order of the matrix
    bins: int  # bins of a RoI
    indices: NDArray  # (T,) rows of the table
    offsets: NDArray  # (n * bins + 1,) where each bin's taps begin; the last is T
    weights: NDArray  # (T,)
    pixels: int  # rows of the table
    dead: NDArray | None  # (n, bins) bool, bins outside the map; None where there are none

    def transposed(self) -> tuple[NDArray, NDArray, NDArray]:
        """``(bins, offsets of the pixels, weights)``: the matrix of the backward pass.

        Bins are counted as (RoI, bin) in the order of the RoI tensor, so that the gradient needs
        no reordering.

        A sort of (pixel, tap) packed into one integer: unique keys, so that neither the order nor
        the rounding of the sums depends on the sorting algorithm.
        """
        taps = len(self.indices)
        bins = (self.rois[:, None] * self.bins + np.arange(self.bins)).ravel()
        bins = np.repeat(bins.astype(self.indices.dtype), np.diff(self.offsets))
        keys = self.indices.astype(np.int64)
        keys <<= 32
        keys |= np.arange(taps)
        keys.sort()
        keys &= 0xFFFFFFFF
        counts = np.bincount(self.indices, minlength=self.pixels)
        offsets = np.zeros(self.pixels + 1, self.indices.dtype)
        np.cumsum(counts, out=offsets[1:])
        return bins.take(keys), offsets, self.weights.take(keys)


def axis_taps(
    start: NDArray, size: NDArray, length: NDArray, bins: int, sampling_ratio: int
) -> AxisTaps:
    """Taps along one axis.

    Args:
        start: (N,) first coordinate of the RoIs in pixels of the feature map, the half pixel of
            ``aligned`` already taken off.
        size: (N,) their extent, >= 0.
        length: (N,) pixels of the map along this axis.
        bins: P.
        sampling_ratio: samples per bin; 0 for ceil(size / P).

    Samples less than a pixel apart share their neighbors: then the taps of a bin are the window
    of pixels that its samples touch. Otherwise they are the two neighbors of each sample. A tap
    of weight zero repeats a pixel that the bin reads anyway, so that NaN and inf never come from a
    pixel that has no part in the bin.
    """
    # 1. size of a bin and samples in it, by RoI
    kind = start.dtype.type
    count = len(start)
    bin_size = size / kind(bins)  # (N,)
    grid = np.full(count, sampling_ratio, kind) if sampling_ratio else np.ceil(bin_size)

    # 2. by bin, N * P rows: where it begins, and which of its samples can be in the map
    origin = (start[:, None] + np.arange(bins, dtype=kind) * bin_size[:, None]).ravel()
    step = np.repeat(bin_size, bins)  # (N * P,)
    grid_of_bin = np.repeat(grid, bins)
    length_of_bin = np.repeat(length, bins)
    first, stop = _samples_in_map(origin, step, grid_of_bin, length_of_bin)

    # 3. by sample, S rows: its position, its two neighbors, and their weights
    samples = stop - first
    total = int(samples.sum())
    begin = np.cumsum(samples) - samples
    bin_of = np.repeat(np.arange(count * bins), samples)  # (S,)
    sample = np.arange(total) - (begin - first)[bin_of]
    position = (
        origin[bin_of] + (sample.astype(kind) + kind(0.5)) * step[bin_of] / grid_of_bin[bin_of]
    )
    last = length_of_bin[bin_of] - 1
    valid = (position >= -1) & (position <= last + 1)
    position = np.clip(position, 0, last.astype(kind))
    low = position.astype(np.int64)
    high = np.minimum(low + 1, last)
    upper = position - low.astype(kind)
    share = valid / grid_of_bin[bin_of]
    upper_weight = upper * share
    lower_weight = (1 - upper) * share

    # 4. taps of a bin: the pixels between its first and last sample, or two a sample
    window_first = np.zeros(count * bins, np.int64)
    window = np.ones(count * bins, np.int64)
    filled = samples > 0
    window_first[filled] = low[begin[filled]]
    window[filled] = high[(begin + samples - 1)[filled]] - window_first[filled] + 1
    window = window.reshape(count, bins).max(1)  # (N,) most pixels of a bin
    pairs = np.maximum(2 * samples.reshape(count, bins).max(1), 1)  # (N,)
    taps = np.minimum(window, pairs)
    roi_start = np.cumsum(taps * bins) - taps * bins
    bin_start = (roi_start[:, None] + np.arange(bins) * taps[:, None]).ravel()

    # 5. weight of each tap: the sum over the samples that use it
    in_pairs = np.repeat(pairs < window, bins)[bin_of]
    slot = bin_start[bin_of] + np.where(
        in_pairs, 2 * (np.arange(total) - begin[bin_of]), low - window_first[bin_of]
    )
    next_slot = slot + np.where(in_pairs, 1, high - low)
    slots = int((taps * bins).sum())
    weight = np.bincount(slot, lower_weight, slots)
    weight += np.bincount(next_slot, upper_weight, slots)

    # 6. pixel of each tap; the lower neighbor of a bin's first valid sample always has weight
    anchor = np.zeros(count * bins, np.int64)
    anchor[bin_of[valid][::-1]] = low[valid][::-1]
    index = np.repeat(anchor, np.repeat(taps, bins))
    for where, pixel in ((slot, low), (next_slot, high)):
        used = weight[where] != 0
        index[where[used]] = pixel[used]
    alive = np.zeros(count * bins, bool)
    alive[bin_of[valid]] = True
    return AxisTaps(
        taps,
        roi_start,
        index,
        weight.astype(kind),
        ~alive.reshape(count, bins),
    )


def _samples_in_map(
    origin: NDArray, step: NDArray, grid: NDArray, length: NDArray
) -> tuple[NDArray, NDArray]:
    """Range of samples [first, stop) of each bin that holds all samples within the map.

    A margin of one sample on either side absorbs rounding. It bounds the work for boxes that are
    far larger than the image.
    """
    spacing = np.maximum(step / np.maximum(grid, 1), np.finfo(step.dtype).tiny)
    grid = np.minimum(grid, 2.0**53)
    with np.errstate(over="ignore"):
        first = np.clip(np.floor((-1 - origin) / spacing - 0.5) - 1, 0, grid)
        stop = np.clip(np.ceil((length - origin) / spacing - 0.5) + 2, 0, grid)
    first = first.astype(np.int64)
    return first, np.maximum(stop.astype(np.int64), first)


def sampling_matrices(
    rois: NDArray,
    levels: NDArray,
    shapes: Sequence[tuple[int, int, int]],
    scales: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
    fused: bool,
) -> list[SamplingMatrix]:
    """The sparse matrices of a pyramid.

    Args:
        rois: (N, 5) float32 or float64: image index, x1, y1, x2, y2 in pixels of the image.
        levels: (N,) level of each RoI.
        shapes: (B, H, W) of each level.
        scales: spatial scale of each level.
        output_size: bins (height, width).
        sampling_ratio: samples per bin and axis, 0 for as many as the bin has pixels.
        aligned: take half a pixel off, so that pixel centers lie at .5.
        fused: one matrix for a table in which the levels follow each other, instead of one for
            each level.
    """
    kind = rois.dtype.type
    table = np.array(shapes, np.int64).reshape(-1, 3)
    _, height, width = table[levels].T
    start, size = box_axes(rois, np.array(scales, kind)[levels][:, None], aligned)
    y = axis_taps(start[1], size[1], height, output_size[0], sampling_ratio)
    x = axis_taps(start[0], size[0], width, output_size[1], sampling_ratio)

    pixels = table.prod(1)
    first_row = rois[:, 0].astype(np.int64) * height * width
    if fused:
        first_row += (np.cumsum(pixels) - pixels)[levels]
        order = np.lexsort((x.taps, y.taps))
        return [_multiply_out(order, y, x, first_row, width, int(pixels.sum()))]
    order = np.lexsort((x.taps, y.taps, levels))
    ends = np.searchsorted(levels[order], np.arange(1, len(table)))
    return [
        _multiply_out(mine, y, x, first_row, width, int(rows))
        for mine, rows in zip(np.split(order, ends), pixels, strict=True)
    ]


def box_axes(rois: NDArray, scale: NDArray, aligned: bool) -> tuple[NDArray, NDArray]:
    """Where RoIs (N, 5) begin, and how far they reach, in pixels of the map: (2, N), x and y.

    ``scale`` is a number or (N, 1); with ``aligned`` half a pixel is taken off, else a RoI is one
    pixel large at least.
    """
    kind = rois.dtype.type
    boxes = rois[:, 1:] * scale
    boxes -= kind(0.5 if aligned else 0)
    size = boxes[:, 2:] - boxes[:, :2]
    if not aligned:
        size = np.maximum(size, 1)
    return boxes[:, :2].T, size.T


def _multiply_out(
    rois: NDArray, y: AxisTaps, x: AxisTaps, first_row: NDArray, width: NDArray, pixels: int
) -> SamplingMatrix:
    """Products of the taps of both axes for RoIs that are ordered by their numbers of taps."""
    # 1. buffers for all products
    bins_y, bins_x = y.dead.shape[1], x.dead.shape[1]
    bins = bins_y * bins_x
    taps_y, taps_x = y.taps[rois], x.taps[rois]
    per_bin = taps_y * taps_x
    total = int(per_bin.sum()) * bins
    integer = np.int32 if max(total, pixels) < 2**31 else np.int64
    indices = np.empty(total, integer)
    weights = np.empty(total, y.weight.dtype)
    # 2. by block of RoIs with the same numbers of taps: one outer product
    blocks = np.flatnonzero(np.diff(taps_y, prepend=0) | np.diff(taps_x, prepend=0))
    done = 0
    for begin, end in zip(blocks, np.append(blocks, len(rois))[1:], strict=True):
        group = rois[begin:end]
        ky, kx = taps_y[begin], taps_x[begin]
        dims = (end - begin, bins_y, bins_x, ky, kx)  # RoIs, P, P, taps, taps
        block = slice(done, done + int(np.prod(dims)))
        done = block.stop
        at_y = y.start[group][:, None] + np.arange(bins_y * ky)  # (RoIs, P * taps)
        at_x = x.start[group][:, None] + np.arange(bins_x * kx)
        row = (y.index[at_y] * width[group][:, None] + first_row[group][:, None]).astype(integer)
        column = x.index[at_x].astype(integer)
        np.add(
            row.reshape(-1, bins_y, 1, ky, 1),
            column.reshape(-1, 1, bins_x, 1, kx),
            out=indices[block].reshape(dims),
        )
        np.multiply(
            y.weight[at_y].reshape(-1, bins_y, 1, ky, 1),
            x.weight[at_x].reshape(-1, 1, bins_x, 1, kx),
            out=weights[block].reshape(dims),
        )
    # 3. where each bin begins, and bins without a sample in the map
    offsets = np.zeros(len(rois) * bins + 1, integer)
    np.cumsum(np.repeat(per_bin, bins), out=offsets[1:])
    dead = (y.dead[rois][:, :, None] | x.dead[rois][:, None]).reshape(-1, bins)
    return SamplingMatrix(
        rois=rois,
        bins=bins,
        indices=indices,
        offsets=offsets,
        weights=weights,
        pixels=pixels,
        dead=dead if dead.any() else None,
    )
