"""NMS within groups, such as classes or pyramid levels: torchvision's, Detectron2's, and mmcv's."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from mmcv.ops.nms import NMSop  # without the table of boxes and scores that nms makes of it
from torch import Tensor

from mmdet_maskr.ops.constants import constant, counting

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
    """
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


def nms_of_batch(
    boxes: Tensor,
    scores: Tensor,
    level_ids: Tensor,
    iou_threshold: float,
    max_num: int,
    valid: Tensor | None = None,
) -> list[Tensor]:
    """:func:`nms_per_level` of B images on a GPU, which is waited for once an image.

    Args:
        boxes: (B, N, 4) xyxy, not negative, N > 0.
        scores: (B, N).
        level_ids: (N,) the pyramid level of each box.
        iou_threshold: boxes that overlap a better one by more are dropped.
        max_num: how many to return at most.
        valid: (B, N) bool, which boxes there are; None for all. Nobody has to know how many.

    Returns:
        Indices of each image, best first.
    """
    if valid is None:
        order = scores.sort(descending=True).indices
        moved = _apart(boxes, level_ids)
    else:
        # boxes that are not there take the place of the best one, behind it: NMS drops them for it
        order = scores.where(valid, -torch.inf).sort(descending=True).indices
        moved = _apart(boxes.where(valid[..., None], 0), level_ids)
        best = order[:, :1]
        # NMS keeps empty boxes: where no box is there, they are not empty
        place = _rows(moved, best).where(
            valid.gather(1, best)[..., None], constant((0, 0, 1, 1), boxes)
        )
        moved = moved.where(valid[..., None], place)
    found = []
    for i, own in enumerate(_rows(moved, order)):
        keep = order[i][_kept(own, iou_threshold)[:max_num]]
        if valid is not None and len(keep) == 1:
            keep = keep[valid[i][keep]]  # none is there, if this one is not
        found.append(keep)
    return found


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """(B, n, 4) rows of values (B, N, 4) by index (B, n)."""
    return values.gather(1, index[..., None].expand(-1, -1, 4))


def _apart(boxes: Tensor, groups: Tensor) -> Tensor:
    """Boxes (..., N, 4) of which those of different groups (N,) do not overlap."""
    return boxes + groups[:, None] * (boxes.amax((-2, -1), keepdim=True) + 1)


def _kept(boxes: Tensor, iou_threshold: float, groups: Tensor | None = None) -> Tensor:
    """Rising indices of the boxes (N, 4), best first, that NMS keeps, within groups if given."""
    ranks = counting(len(boxes), boxes, torch.float32, step=-1)  # no ties
    if groups is None:
        return NMSop.apply(boxes, ranks, iou_threshold, 0, 0.0, -1)
    kept = []
    for group in groups.unique():
        inside = (groups == group).nonzero()[:, 0]
        kept.append(inside[NMSop.apply(boxes[inside], ranks[inside], iou_threshold, 0, 0.0, -1)])
    return torch.cat(kept).sort().values
