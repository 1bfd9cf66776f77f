"""mmdet's MaxIoUAssigner as tensor operations: no loop over ground truths, no wait for a GPU.

Symbols: B images, G ground truths of an image at most, A anchors or proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D, MaxIoUAssigner
from torch import Tensor

from mmdet_maskr.ops.padding import padded

IGNORED, BACKGROUND = -1, 0
MOST_OVERLAPS = 2**26  # of images that are matched together; each takes some ten bytes more


def is_standard(assigner: Any) -> bool:
    """Whether :func:`match` gives what an assigner gives."""
    return (
        type(assigner) is MaxIoUAssigner
        and type(assigner.iou_calculator) is BboxOverlaps2D
        and assigner.iou_calculator.dtype is None
        and assigner.perm_repeat_gt_cfg is None
        and assigner.gpu_assign_thr <= 0
    )


def match(
    assigner: MaxIoUAssigner,
    boxes: Tensor,
    truths: Sequence[Tensor],
    ignored: Sequence[Tensor | None],
    counts: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """What ``assigner.assign`` gives as ``gt_inds``, for the images of a batch.

    Args:
        assigner: its options are used; see :func:`is_standard`.
        boxes: (A, 4) xyxy anchors of all images, or (B, A, 4) proposals.
        truths: of each image (G_i, 4) xyxy.
        ignored: of each image (I_i, 4) xyxy, whose boxes are not background, or None.
        counts: of each image (A,) bool, False for boxes that are not there, or None for all.

    Returns:
        (B, A) int64: 0 for background, -1 for what is ignored, else the ground truth's index + 1.
    """
    batch, most = len(truths), max(len(own) for own in truths)
    size = boxes.shape[-2]
    counts = counts or [None] * batch
    if batch > 1 and batch * most * size > MOST_OVERLAPS:
        each = zip(range(batch), truths, ignored, counts, strict=True)
        return torch.cat(
            [
                match(assigner, boxes if boxes.dim() == 2 else boxes[i : i + 1], [t], [g], [c])
                for i, t, g, c in each
            ]
        )
    if size == 0:
        return boxes.new_zeros((batch, 0), dtype=torch.long)
    # rows of ground truths that are not there overlap with nothing
    overlaps = _overlaps(padded(truths, least=1), boxes)  # (B, G, A)
    for own, out, valid, here in zip(
        overlaps, ignored, counts, boxes.expand(batch, -1, -1), strict=True
    ):
        if assigner.ignore_iof_thr > 0 and out is not None and len(out):
            own.masked_fill_(_covered(assigner, here, out), -1)
        if valid is not None:
            own.masked_fill_(~valid, -1)
    best, which = overlaps.max(1)
    low, high = 0.0, assigner.neg_iou_thr
    if isinstance(high, tuple):
        low, high = high
    other = (best < low) | (best >= high)  # than background
    matched = torch.where(best >= assigner.pos_iou_thr, which + 1, -other.long())
    if assigner.match_low_quality and most > 0:
        there = None
        if assigner.min_pos_iou <= 0 and any(len(own) < most for own in truths):
            there = padded([own.new_ones(len(own), dtype=torch.bool) for own in truths])
        matched = _low_quality(assigner, overlaps, there, matched)
    for row, own, valid in zip(matched, truths, counts, strict=True):
        if len(own) == 0:  # whatever the thresholds are and whatever is ignored, as in mmdet
            row.fill_(BACKGROUND)
            if valid is not None:
                row.masked_fill_(~valid, IGNORED)
    return matched


def _low_quality(
    assigner: MaxIoUAssigner, overlaps: Tensor, there: Tensor | None, matched: Tensor
) -> Tensor:
    """Let each ground truth have its best boxes, of several ground truths the last one.

    Args:
        assigner: its options are used.
        overlaps: (B, G, A).
        there: (B, G) bool, which ground truths there are; None where the others overlap too
            little anyway.
        matched: (B, A) so far.
    """
    highest, where = overlaps.max(2)
    enough = highest >= assigner.min_pos_iou
    if there is not None:
        enough &= there
    if assigner.gt_max_assign_all:
        own = (overlaps == highest[..., None]) & enough[..., None]
        last, place = own.flip(1).view(torch.uint8).max(1)  # the first of ones
        return torch.where(last > 0, overlaps.shape[1] - place, matched)
    index = torch.arange(1, overlaps.shape[1] + 1, device=matched.device) * enough
    last = torch.zeros_like(matched).scatter_reduce_(1, where, index, "amax")
    return torch.where(last > 0, last, matched)


def _covered(assigner: MaxIoUAssigner, boxes: Tensor, ignored: Tensor) -> Tensor:
    """(A,) bool, boxes (A, 4) that lie in what is ignored (I, 4)."""
    first, second = (boxes, ignored) if assigner.ignore_wrt_candidates else (ignored, boxes)
    shares = _overlaps(first, second, over_first=True)
    return shares.amax(1 if assigner.ignore_wrt_candidates else 0) > assigner.ignore_iof_thr


def _overlaps(first: Tensor, second: Tensor, over_first: bool = False) -> Tensor:
    """(..., N, M) intersection over union of boxes (..., N, 4) and (..., M, 4).

    mmdet's ``bbox_overlaps`` in its order of operations; ``over_first``: over the first's area.
    """
    low = torch.max(first[..., None, :2], second[..., None, :, :2])
    sides = (torch.min(first[..., None, 2:], second[..., None, :, 2:]) - low).clamp_(min=0)
    shared = sides[..., 0] * sides[..., 1]
    union = _areas(first)[..., None]
    if not over_first:
        union = union + _areas(second)[..., None, :] - shared
    return shared / union.clamp(min=1e-6)


def _areas(boxes: Tensor) -> Tensor:
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0] * sides[..., 1]
