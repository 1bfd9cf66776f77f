"""NMS of an image's proposals, pyramid level by pyramid level, on a CPU."""

from __future__ import annotations

import torch
from mmcv.ops import nms
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.tracing import is_traced

NMS_OPTIONS = {"type", "iou_threshold"}
SPLIT_THRESHOLD = 10000  # from so many boxes on, mmcv's batched_nms goes level by level itself
FEW = 400  # boxes whose levels are not worth calls of their own


def nms_per_level(
    boxes: Tensor, scores: Tensor, level_ids: Tensor, iou_threshold: float, max_num: int
) -> Tensor:
    """The first ``max_num`` indices that mmcv's ``batched_nms`` keeps, best first, on a CPU.

    mmcv moves each level's boxes to a place of their own and compares all with all. Two things make
    that faster: boxes of two levels never overlap there, so comparing within levels is enough; and
    a box is dropped only for a better one, so the best boxes come out right without the others.

    Boxes are moved here too: in float32 the move rounds coordinates, which decides now and then
    whether an overlap exceeds the threshold, and a CPU is meant to keep what a GPU keeps.

    Args:
        boxes: (N, 4) xyxy, not negative, N > 0.
        scores: (N,).
        level_ids: (N,) the pyramid level of each box.
        iou_threshold: boxes that overlap a better one by more are dropped.
        max_num: how many to return at most.
    """
    moved = boxes + level_ids.to(boxes)[:, None] * (boxes.max() + 1)
    order = scores.sort(descending=True).indices  # as mmcv: among equal scores it is not stable
    count = max_num + max_num // 2
    while True:
        best = order[:count]
        kept = _nms_of_sorted(moved[best], level_ids[best], iou_threshold)
        if len(kept) >= max_num or count >= len(order):
            return best[kept[:max_num]]
        count *= 2


def _nms_of_sorted(boxes: Tensor, level_ids: Tensor, iou_threshold: float) -> Tensor:
    """Rising indices of the boxes (N, 4), best first, that NMS within each level keeps."""
    ranks = torch.arange(0, -len(boxes), -1, dtype=boxes.dtype)  # scores without ties
    if len(boxes) <= FEW:  # levels do not overlap, so they need not be told apart
        return nms(boxes, ranks, iou_threshold)[1]
    kept = []
    for level in level_ids.unique():
        inside = (level_ids == level).nonzero()[:, 0]
        kept.append(inside[nms(boxes[inside], ranks[inside], iou_threshold)[1]])
    return torch.cat(kept).sort().values


def goes_by_level(results: InstanceData, nms_cfg: ConfigDict | None, max_num: int) -> bool:
    """Whether per-level NMS is there, gives the same, and is not what mmcv does anyway."""
    return (
        isinstance(results.bboxes, Tensor)
        and results.bboxes.device.type == "cpu"
        and nms_cfg is not None
        and set(nms_cfg) <= NMS_OPTIONS
        and nms_cfg.get("type", "nms") == "nms"
        and 0 < len(results) < SPLIT_THRESHOLD
        and max_num > 0
        and not is_traced()
    )
