"""NMS and RoIAlign in TorchScript, from torch's own operators alone.

Same functions as in :mod:`.onnx_kernels`, for files that any build of PyTorch runs, without mmcv
or torchvision.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.jit.script
def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_num: int
) -> Tensor:
    """See :func:`.onnx_kernels.nms`; overlaps are computed for 512 boxes with all at a time."""
    found = torch.nonzero(scores > score_threshold)
    group, index = found[:, 0], found[:, 1]
    order = torch.argsort(scores[group, index], descending=True, stable=True)
    group, index = group[order], index[order]
    box = boxes[group, index]
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    count = box.shape[0]
    dropped = torch.zeros([count], dtype=torch.bool, device=box.device)
    kept: list[int] = []
    limit = max_num if boxes.shape[0] == 1 else count
    block = 512
    for start in range(0, count, block):
        stop = min(start + block, count)
        part = box[start:stop, None]
        low = torch.max(part[..., :2], box[None, :, :2])
        high = torch.min(part[..., 2:], box[None, :, 2:])
        sides = (high - low).clamp(min=0)
        common = sides[..., 0] * sides[..., 1]
        overlap = common / (area[start:stop, None] + area[None] - common)
        drops = (overlap > iou_threshold) & (group[start:stop, None] == group[None])
        for i in range(start, stop):
            if len(kept) < limit and not bool(dropped[i]):
                kept.append(i)
                dropped |= drops[i - start]
    keep = torch.tensor(kept, dtype=torch.int64, device=box.device)
    return torch.stack([group[keep], index[keep]], 1)


@torch.jit.script
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


@torch.jit.script
def roi_align(
    features: Tensor,
    boxes: Tensor,
    output_size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """See :func:`.onnx_kernels.roi_align`; 16 RoIs of similar size at a time."""
    height, width = features.shape[2], features.shape[3]
    channels = features.shape[1]
    table = features[0].permute(1, 2, 0).reshape(height * width, channels)
    scaled = boxes * scale
    if aligned:
        scaled = scaled - 0.5
    start = scaled[:, :2]
    sides = scaled[:, 2:] - start
    if not aligned:
        sides = sides.clamp(min=1)
    bins_y, bins_x = output_size
    out = features.new_zeros([boxes.shape[0], bins_y * bins_x, channels])
    order = torch.argsort(sides[:, 0] * sides[:, 1])
    for first in range(0, boxes.shape[0], 16):
        rows = order[first : first + 16]
        y, weight_y = _axis(start[rows, 1], sides[rows, 1], bins_y, height, sampling_ratio)
        x, weight_x = _axis(start[rows, 0], sides[rows, 0], bins_x, width, sampling_ratio)
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
    return out.permute(0, 2, 1).reshape(boxes.shape[0], channels, bins_y, bins_x)
