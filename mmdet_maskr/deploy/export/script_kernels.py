"""NMS and RoIAlign in TorchScript, built from torch's own operators.

The same functions as in :mod:`.onnx_kernels`, for files that run in any build of PyTorch without
mmcv and torchvision.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmdet_maskr.ops.traced_roi_align import traced_roi_align


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


def roi_align(
    features: Tensor,
    boxes: Tensor,
    output_size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """See :func:`.onnx_kernels.roi_align`."""
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
    return traced_roi_align(features, rois, output_size, scale, sampling_ratio, aligned)
