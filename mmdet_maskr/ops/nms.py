"""NMS within groups, such as classes or pyramid levels: torchvision's, Detectron2's, and mmcv's."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from mmcv.ops.nms import NMSop  # without the table of boxes and scores that nms makes of it
from torch import Tensor

from mmdet_maskr.ops.constants import constant

# From more boxes on, torchvision goes group by group; up to it, groups are moved apart. In float32
# the move rounds coordinates, which decides now and then whether an overlap is above the threshold.
MOVED_ON_CPU = 1000
MOVED_ON_GPU = 25000
FEW = 400  # boxes whose groups are not worth calls of their own


def plain_nms(cfg: Mapping | None, also: Collection[str] = ()) -> float | None:
    """The IoU threshold of ``dict(type='nms', iou_threshold=...)``; None of another config.

    Args:
        cfg: an ``nms`` of a config; its type is a text or, with read_base(), a function.
        also: options that do not matter.
    """
    options = dict(cfg or {})
    kind = options.pop("type", "nms")
    if getattr(kind, "__name__", kind) not in ("nms", "mmcv.nms"):
        return None
    if set(options) - set(also) != {"iou_threshold"}:
        return None
    return float(options["iou_threshold"])


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that torchvision keeps, best first.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,). Among equal scores the first goes first.
        groups: (N,) class or pyramid level; boxes of different groups do not compete.
        iou_threshold: boxes that overlap a better one of their group by more are dropped.
    """
    if len(boxes) == 0:
        return groups.new_empty(0)
    order = scores.sort(descending=True, stable=True).indices
    if len(boxes) > (MOVED_ON_CPU if boxes.device.type == "cpu" else MOVED_ON_GPU):
        return order[_kept(boxes[order], iou_threshold, groups[order])]
    return order[_kept(_apart(boxes, groups)[order], iou_threshold)]


def nms_per_level(
    boxes: Tensor,
    scores: Tensor,
    level_ids: Tensor,
    iou_threshold: float,
    max_num: int,
    valid: Tensor | None = None,
) -> Tensor:
    """The first ``max_num`` indices that mmcv's ``batched_nms`` keeps, best first.

    mmcv moves each level's boxes to a place of their own and compares all with all, and so does a
    GPU here. Two things make that faster on a CPU: boxes of two levels never overlap there, so
    comparing within levels is enough; and a box is dropped only for a better one, so the best boxes
    come out right without the others.

    Boxes are moved here too, so that a CPU keeps what a GPU keeps.

    Args:
        boxes: (N, 4) xyxy, not negative, N > 0.
        scores: (N,).
        level_ids: (N,) the pyramid level of each box.
        iou_threshold: boxes that overlap a better one by more are dropped.
        max_num: how many to return at most.
        valid: (N,) bool, which boxes there are; None for all. On a GPU, which need not tell how
            many that is.
    """
    if valid is not None:
        return _of_valid(boxes, scores, level_ids, iou_threshold, max_num, valid)
    moved = _apart(boxes, level_ids)
    order = scores.sort(descending=True).indices  # as mmcv: among equal scores it is not stable
    if boxes.device.type != "cpu":
        return order[_kept(moved[order], iou_threshold)[:max_num]]
    count = max_num + max_num // 2
    while True:
        best = order[:count]
        # few boxes need not be told apart by level, as levels do not overlap
        levels = level_ids[best] if len(best) > FEW else None
        kept = _kept(moved[best], iou_threshold, levels)
        if len(kept) >= max_num or count >= len(order):
            return best[kept[:max_num]]
        count *= 2


def _of_valid(
    boxes: Tensor,
    scores: Tensor,
    level_ids: Tensor,
    iou_threshold: float,
    max_num: int,
    valid: Tensor,
) -> Tensor:
    """Boxes that are not there take the place of the best one, behind it: NMS drops them for it."""
    ranks = scores.where(valid, -torch.inf)
    best = ranks.argmax(0, keepdim=True)
    here = boxes.where(valid[:, None], 0)
    moved = _apart(here, level_ids)
    # NMS keeps empty boxes: where no box is there, they are not empty
    place = moved[best].where(valid[best, None], constant((0, 0, 1, 1), boxes))
    moved = moved.where(valid[:, None], place)
    order = ranks.sort(descending=True).indices
    keep = order[_kept(moved[order], iou_threshold)[:max_num]]
    return keep[valid[keep]] if len(keep) == 1 else keep  # none is there, if this one is not


def _apart(boxes: Tensor, groups: Tensor) -> Tensor:
    """Boxes (N, 4) of which those of different groups do not overlap."""
    return boxes + groups.to(boxes)[:, None] * (boxes.max() + 1)


def _kept(boxes: Tensor, iou_threshold: float, groups: Tensor | None = None) -> Tensor:
    """Rising indices of the boxes (N, 4), best first, that NMS keeps, within groups if given."""
    ranks = torch.arange(0, -len(boxes), -1, dtype=torch.float32, device=boxes.device)  # no ties
    if groups is None:
        return NMSop.apply(boxes, ranks, iou_threshold, 0, 0.0, -1)
    kept = []
    for group in groups.unique():
        inside = (groups == group).nonzero()[:, 0]
        kept.append(inside[NMSop.apply(boxes[inside], ranks[inside], iou_threshold, 0, 0.0, -1)])
    return torch.cat(kept).sort().values
