"""What the tests of the RoI layers share: devices, RoIs of all sorts, and direct loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

HEIGHT, WIDTH = 19, 25

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def features(
    channels: int = 18, batch: int = 2, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, HEIGHT, WIDTH, generator=generator, dtype=torch.float64).to(
        dtype
    )


def all_sorts_of_rois(scale: float = 1.0, batch: int = 2, seed: int = 0) -> Tensor:
    """(40, 5) RoIs: ordinary, across borders, outside, without area, on whole pixels, oversized."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(40, 4, generator=generator)
    size = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT]) / scale
    boxes = unit * size
    boxes[:, 2:] *= 0.8
    boxes[10:15, :2] -= 0.6 * size[:2]
    boxes[15:18, :2] += 1.5 * size[:2]
    boxes[18:20, :2] -= 3 * size[:2]
    boxes[20:22, 2:] = 0
    boxes[22, 2] = 0
    boxes[23, 3] = 0
    boxes[24:30] = (boxes[24:30] * scale).round() / scale
    boxes[30:34, 2:] *= 6
    boxes[34, 2:] *= 60
    boxes[:, 2:] += boxes[:, :2]
    image = torch.randint(batch, (40, 1), generator=generator)
    return torch.cat([image.float(), boxes], dim=1)


def relative_error(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).abs().max() / reference.abs().max())


def round_half_away(value: float) -> int:
    return math.floor(value + 0.5) if value >= 0 else -math.floor(-value + 0.5)


def quantized_box(roi: Tensor, scale: float) -> tuple[int, int, int, int]:
    """Caffe's: rounded corners, the last pixel included; as [x1, x2) x [y1, y2)."""
    x1, y1, x2, y2 = (round_half_away(v) for v in (roi[1:] * scale).tolist())
    return x1, y1, x2 + 1, y2 + 1


def roi_pool_loop(maps: Tensor, rois: Tensor, bins: tuple[int, int], scale: float) -> Tensor:
    """RoIPool one bin at a time, differentiable."""

    def span(position: int, count: int, begin: int, end: int, length: int) -> slice:
        extent = end - begin
        first = begin + math.floor(position * extent / count)
        last = begin + math.ceil((position + 1) * extent / count)
        return slice(min(max(first, 0), length), min(max(last, 0), length))

    def pool(roi: Tensor, p: int, q: int) -> Tensor:
        x1, y1, x2, y2 = quantized_box(roi, scale)
        image = maps[int(roi[0])]
        rows = span(p, bins[0], y1, y2, image.shape[1])
        columns = span(q, bins[1], x1, x2, image.shape[2])
        patch = image[:, rows, columns].flatten(1)
        return patch.max(dim=1).values if patch.shape[1] else image[:, 0, 0] * 0

    return _for_all_bins(rois, bins, pool)


def roi_warp_loop(
    maps: Tensor, rois: Tensor, bins: tuple[int, int], scale: float, mode: str, ratio: int
) -> Tensor:
    """RoIWarp one sample at a time, differentiable. Pixel centers lie at .5."""

    def box(roi: Tensor) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = quantized_box(roi, scale)
        return x1 - 0.5, y1 - 0.5, x2 - x1, y2 - y1

    return _samples_loop(maps, rois, bins, box, mode, ratio)


def roi_align_loop(
    maps: Tensor,
    rois: Tensor,
    bins: tuple[int, int],
    scale: float,
    mode: str,
    ratio: int,
    aligned: bool = True,
) -> Tensor:
    """RoIAlign one sample at a time, differentiable; a bin without samples gives 0 (max: -1e4)."""

    def box(roi: Tensor) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = (roi[1:] * scale).tolist()
        width, height = x2 - x1, y2 - y1
        if not aligned:
            return x1, y1, max(width, 1.0), max(height, 1.0)
        return x1 - 0.5, y1 - 0.5, width, height

    return _samples_loop(maps, rois, bins, box, mode, ratio)


def _samples_loop(
    maps: Tensor,
    rois: Tensor,
    bins: tuple[int, int],
    box: Callable[[Tensor], tuple[float, float, float, float]],
    mode: str,
    ratio: int,
) -> Tensor:
    """Bins of bilinear samples. ``box`` gives x, y, width and height in pixels of the map."""

    def sample(image: Tensor, y: float, x: float) -> Tensor:
        height, width = image.shape[1:]
        if not (-1 <= y <= height and -1 <= x <= width):
            return image[:, 0, 0] * 0
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        top, left = math.floor(y), math.floor(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = image[:, top, left] * (1 - (x - left)) + image[:, top, right] * (x - left)
        lower = image[:, bottom, left] * (1 - (x - left)) + image[:, bottom, right] * (x - left)
        return upper * (1 - (y - top)) + lower * (y - top)

    def pool(roi: Tensor, p: int, q: int) -> Tensor:
        x, y, width, height = box(roi)
        height, width = height / bins[0], width / bins[1]
        grid_y, grid_x = ratio or math.ceil(height), ratio or math.ceil(width)
        samples = [
            sample(
                maps[int(roi[0])],
                y + (p + (i + 0.5) / grid_y) * height,
                x + (q + (j + 0.5) / grid_x) * width,
            )
            for i in range(grid_y)
            for j in range(grid_x)
        ]
        if not samples:
            return maps[0, :, 0, 0] * 0 - (0 if mode == "avg" else 10000)
        stacked = torch.stack(samples)
        return stacked.mean(0) if mode == "avg" else stacked.max(0).values

    return _for_all_bins(rois, bins, pool)


def _for_all_bins(
    rois: Tensor, bins: tuple[int, int], pool: Callable[[Tensor, int, int], Tensor]
) -> Tensor:
    grid = [(p, q) for p in range(bins[0]) for q in range(bins[1])]
    return torch.stack(
        [torch.stack([pool(roi, p, q) for p, q in grid], dim=1).unflatten(1, bins) for roi in rois]
    )
