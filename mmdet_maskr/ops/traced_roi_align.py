"""RoIAlign in TorchScript, from torch's own operators alone.

For models that are traced: as a part of a graph it pools whatever RoIs a call has, and its files
need neither mmcv nor this package.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def _axis(
    start: Tensor, length: Tensor, bins: int, size: int, sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """Samples of RoIs along one axis: (N, bins, 2 g) pixels and their weights."""
    step = length / bins
    if sampling_ratio > 0:
        grid = torch.full_like(step, sampling_ratio)
    else:
        grid = step.ceil()  # a point has no sample, and its features are 0
    most = max(int(grid.max()), 1)
    taken = grid.clamp(min=1)
    sample = torch.arange(most, device=start.device, dtype=start.dtype)
    edge = start[:, None] + torch.arange(bins, device=start.device) * step[:, None]
    at = edge[:, :, None] + (sample + 0.5) * (step / taken)[:, None, None]
    used = (sample < grid[:, None, None]) & (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor()
    part = at - low
    weight = used.to(at.dtype) / taken[:, None, None]
    pixels = torch.cat([low, (low + 1).clamp(max=size - 1)], 2).long()
    return pixels, torch.cat([weight * (1 - part), weight * part], 2)


def _pool(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """(N, C, bins) of 16 RoIs of similar size at a time."""
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
    out = table.new_zeros([rois.shape[0], bins_y * bins_x, channels])
    order = torch.argsort(sides[:, 0] * sides[:, 1])
    for first in range(0, rois.shape[0], 16):
        rows = order[first : first + 16]
        y, weight_y = _axis(start[rows, 1], sides[rows, 1], bins_y, height, sampling_ratio)
        x, weight_x = _axis(start[rows, 0], sides[rows, 0], bins_x, width, sampling_ratio)
        y = y + (rois[rows, 0].long() * height)[:, None, None]
        pixels = y[:, :, None, :, None] * width + x[:, None, :, None, :]
        weights = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
        bags = rows.shape[0] * bins_y * bins_x
        pooled = torch.embedding_bag(
            table,
            pixels.reshape(-1),
            torch.arange(bags, device=table.device) * (pixels.numel() // bags),
            False,
            0,
            False,
            weights.reshape(-1),
        )[0]
        out[rows] = pooled.view(rows.shape[0], bins_y * bins_x, channels)
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
) -> Tensor:
    """RoIAlign with average pooling.

    Args:
        features: (B, C, H, W).
        rois: (N, 5) image index in the batch, x1, y1, x2, y2 in pixels of the network's input; N
            may be 0.
        output_size: bins (height, width).
        scale: pixels of the map per pixel of the input.
        sampling_ratio: samples per bin and axis; 0 for as many as the bin has pixels.
        aligned: pixel centres lie at .5.

    Returns:
        (N, C, height, width) in the features' type.
    """
    pooled = _scripted()(features, rois, output_size, scale, sampling_ratio, aligned)
    # an operator of its own, as tracers do not know the shape of what a script gives
    return pooled.reshape(rois.shape[0], features.shape[1], *output_size)
