"""RoIAlign in TorchScript, from torch's own operators alone.

For models that are traced: as a part of a graph it pools the RoIs of each call, and its files
need neither mmcv nor this package.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def _axis(
    start: Tensor, length: Tensor, bins: int, size: int, sampling_ratio: int, mean: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples of RoIs along one axis: two pixels of each, their weights, and how many count.

    Args:
        start, length: (N,) of the RoIs, in pixels of the map.
        bins: P.
        size: of the map.
        sampling_ratio: samples of a bin; 0 for as many as it has pixels.
        mean: divide weights by the number of samples.

    Returns:
        (N, P, 2, g) pixels and weights, and (N,) how many of the g samples are the RoI's.
    """
    step = length / bins
    if sampling_ratio > 0:
        grid = torch.full_like(step, sampling_ratio)
    else:
        grid = step.ceil()  # a point has no sample
    most = max(int(grid.max()), 1)
    taken = grid.clamp(min=1)
    sample = torch.arange(most, device=start.device, dtype=start.dtype)
    edge = start[:, None] + torch.arange(bins, device=start.device) * step[:, None]
    at = edge[:, :, None] + (sample + 0.5) * (step / taken)[:, None, None]
    used = (sample < grid[:, None, None]) & (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor()
    part = at - low
    weight = used.to(at.dtype)
    if mean:
        weight = weight / taken[:, None, None]
    pixels = torch.stack([low, (low + 1).clamp(max=size - 1)], 2).long()
    return pixels, torch.stack([weight * (1 - part), weight * part], 2), grid


def _bags(table: Tensor, y: Tensor, weight_y: Tensor, x: Tensor, weight_x: Tensor) -> Tensor:
    """(n, P Q, C) sums of weighted pixels, from the first (n, P, k) and last (n, Q, k) of each."""
    pixels = y[:, :, None, :, None] + x[:, None, :, None, :]
    weights = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
    bags = pixels.shape[0] * pixels.shape[1] * pixels.shape[2]
    pooled = torch.embedding_bag(
        table,
        pixels.reshape(-1),
        torch.arange(bags, device=table.device) * (pixels.numel() // bags),
        False,
        0,
        False,
        weights.reshape(-1),
    )[0]
    return pooled.view(pixels.shape[0], pixels.shape[1] * pixels.shape[2], table.shape[1])


def _pool(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
    largest: bool,
) -> Tensor:
    """(N, C, bins) of 16 RoIs of similar size at a time."""
    # 1. pixels as rows of a table; RoIs in pixels of the map
    images, channels, height, width = features.shape
    table = features.permute(0, 2, 3, 1).reshape(images * height * width, channels).to(rois.dtype)
    scaled = rois[:, 1:] * scale
    if aligned:
        scaled = scaled - 0.5
    start = scaled[:, :2]
    sides = scaled[:, 2:] - start
    if not aligned:
        sides = sides.clamp(min=1)
    bins_y, bins_x = output_size
    nothing = -10000.0 if largest else 0.0  # of a bin without a sample, as in mmcv
    out = table.new_full([rois.shape[0], bins_y * bins_x, channels], nothing)
    # 2. RoIs of similar size together, as all of a block take as many samples as the largest
    order = torch.argsort(sides[:, 0] * sides[:, 1])
    mean = not largest
    for first in range(0, rois.shape[0], 16):
        rows = order[first : first + 16]
        y, weight_y, count_y = _axis(
            start[rows, 1], sides[rows, 1], bins_y, height, sampling_ratio, mean
        )
        x, weight_x, count_x = _axis(
            start[rows, 0], sides[rows, 0], bins_x, width, sampling_ratio, mean
        )
        y = (y + (rois[rows, 0].long() * height)[:, None, None, None]) * width
        # 3. the largest sample of each bin, or their mean
        if largest:
            found = out[rows]
            for i in range(y.shape[3]):
                for j in range(x.shape[3]):
                    value = _bags(table, y[..., i], weight_y[..., i], x[..., j], weight_x[..., j])
                    counts = ((i < count_y) & (j < count_x))[:, None, None]
                    found = torch.where(counts, torch.maximum(found, value), found)
            out[rows] = found
        else:
            out[rows] = _bags(
                table, y.flatten(2), weight_y.flatten(2), x.flatten(2), weight_x.flatten(2)
            )
    return out.permute(0, 2, 1).to(features.dtype)


@functools.cache
def _scripted() -> Callable[..., Tensor]:
    """:func:`_pool` as TorchScript, made when the first model is traced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer torch warns of TorchScript as such
        return torch.jit.script(_pool)


def traced_roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
    pool_mode: str = "avg",
) -> Tensor:
    """RoIAlign of a model that is traced.

    Args:
        features: (B, C, H, W).
        rois: (N, 5) image index in the batch, x1, y1, x2, y2 in pixels of the network's input; N
            may be 0.
        output_size: bins (height, width).
        scale: pixels of the map per pixel of the input.
        sampling_ratio: samples per bin and axis; 0 for as many as the bin has pixels.
        aligned: pixel centers lie at .5.
        pool_mode: 'avg' or 'max' over a bin's samples.

    Returns:
        (N, C, height, width) in the features' type.
    """
    largest = pool_mode == "max"
    pooled = _scripted()(features, rois, output_size, scale, sampling_ratio, aligned, largest)
    # an operator of its own, as tracers do not know the shape of what a script gives
    return pooled.reshape(rois.shape[0], features.shape[1], *output_size)
