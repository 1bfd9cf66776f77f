"""NMS within groups as torchvision does it, and Detectron2 through it."""

from __future__ import annotations

import torch
from mmcv.ops import nms
from torch import Tensor

# From more boxes on, torchvision goes group by group; up to it, groups are moved apart. In float32
# the move rounds coordinates, which decides now and then whether an overlap is above the threshold.
MOVED_ON_CPU = 1000
MOVED_ON_GPU = 25000


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that are kept, best first.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,). Among equal scores the first goes first.
        groups: (N,) class or pyramid level; boxes of different groups do not compete.
        iou_threshold: boxes that overlap a better one of their group by more are dropped.
    """
    if len(boxes) == 0:
        return groups.new_empty(0)
    if len(boxes) > (MOVED_ON_CPU if boxes.device.type == "cpu" else MOVED_ON_GPU):
        kept = [
            found[_nms(boxes[found], scores[found], iou_threshold)]
            for found in ((groups == group).nonzero()[:, 0] for group in groups.unique())
        ]
        keep = torch.cat(kept).sort().values
        return keep[scores[keep].sort(descending=True).indices]
    moved = boxes + groups.to(boxes)[:, None] * (boxes.max() + 1)
    return _nms(moved, scores, iou_threshold)


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """mmcv's NMS, stable among equal scores, which it is not by itself."""
    order = scores.sort(descending=True, stable=True).indices
    ranks = torch.arange(0, -len(boxes), -1, dtype=torch.float32, device=boxes.device)
    return order[nms(boxes[order], ranks, iou_threshold)[1]]
