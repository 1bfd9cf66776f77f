"""mmdet's MaxIoUAssigner as tensor operations: no loop over ground truths, no wait for a GPU.

mmdet's holds several matrices of all ground truths by all anchors: 1,000 objects on a photo of
COCO's size are 10 GB. :func:`match_in_parts` sees some ground truths at a time.

Symbols: B images, G ground truths of an image at most, A anchors or proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.task_modules.assigners import (
    AssignResult,
    BaseAssigner,
    BboxOverlaps2D,
    MaxIoUAssigner,
)
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.ops.padding import padded

IGNORED, BACKGROUND = -1, 0
MOST_OVERLAPS = 2**26  # of images that are matched together; each takes some ten bytes more
MOST_ON_CPU = 2**22  # of an image that mmdet matches
PART = 2**21  # at a time, where there are more


def is_standard(assigner: Any) -> bool:
    """Whether :func:`match` gives what an assigner gives."""
    return (
        type(assigner) is MaxIoUAssigner
        and type(assigner.iou_calculator) is BboxOverlaps2D
        and assigner.iou_calculator.dtype is None
        and assigner.perm_repeat_gt_cfg is None
        and assigner.gpu_assign_thr <= 0
    )


def assign(
    assigner: BaseAssigner,
    proposals: InstanceData,
    truths: InstanceData,
    ignored: InstanceData | None = None,
) -> AssignResult:
    """What ``assigner.assign`` gives, of many ground truths in parts.

    Args:
        assigner: another than mmdet's MaxIoUAssigner is asked itself.
        proposals: with ``priors`` (A, 4).
        truths: with ``bboxes`` (G, 4) and ``labels``.
        ignored: with ``bboxes``, or None.
    """
    count = len(truths) * len(proposals)
    if count <= MOST_ON_CPU or not is_standard(assigner):
        return assigner.assign(proposals, truths, ignored)
    boxes = get_box_tensor(proposals.priors)
    out = None if ignored is None else get_box_tensor(ignored.bboxes)
    matched, best = match_in_parts(assigner, boxes, get_box_tensor(truths.bboxes), out)
    positive = matched > 0
    labels = torch.full_like(matched, -1)
    labels[positive] = truths.labels[matched[positive] - 1]
    return AssignResult(len(truths), matched, best, labels)


def match(
    assigner: MaxIoUAssigner,
    boxes: Tensor,
    truths: Sequence[Tensor],
    ignored: Sequence[Tensor | None],
    counts: Sequence[Tensor | None] | None = None,
    every: Tensor | None = None,
) -> Tensor:
    """What ``assigner.assign`` gives as ``gt_inds``, for the images of a batch.

    Args:
        assigner: its options are used; see :func:`is_standard`.
        boxes: (A, 4) xyxy anchors of all images, or (B, A, 4) proposals.
        truths: of each image (G_i, 4) xyxy.
        ignored: of each image (I_i, 4) xyxy, whose boxes are not background, or None.
        counts: of each image (A,) bool, False for boxes that are not there, or None for all.
        every: ``truths`` as (B, G, 4), G at least 1, with zeros; None where nobody has made it.

    Returns:
        (B, A) int64: 0 for background, -1 for what is ignored, else the ground truth's index + 1.
    """
    # 1. where all overlaps would take too much memory: image by image, or in parts
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
    if most * size > MOST_OVERLAPS:
        one = boxes.reshape(-1, 4)
        return match_in_parts(assigner, one, truths[0], ignored[0], counts[0])[0][None]
    # 2. overlaps; rows of ground truths that are not there overlap with nothing
    overlaps = _overlaps(padded(truths, least=1) if every is None else every, boxes)  # (B, G, A)
    some_out = False
    for own, out, valid, here in zip(
        overlaps, ignored, counts, boxes.expand(batch, -1, -1), strict=True
    ):
        if assigner.ignore_iof_thr > 0 and out is not None and len(out):
            own.masked_fill_(_covered(assigner, here, out), -1)
            some_out = True
        if valid is not None:
            own.masked_fill_(~valid, -1)
            some_out = True
    # 3. the best ground truth of each box, by thresholds, then the best boxes of each of them
    best, which = overlaps.max(1)
    matched = _by_threshold(assigner, best, which, some_out)
    if assigner.match_low_quality and most > 0:
        there = None
        if assigner.min_pos_iou <= 0 and any(len(own) < most for own in truths):
            there = padded([own.new_ones(len(own), dtype=torch.bool) for own in truths])
        matched = _low_quality(assigner, overlaps, there, matched)
    # 4. images without ground truth
    for row, own, valid in zip(matched, truths, counts, strict=True):
        if len(own) == 0:  # at any thresholds, ignored boxes or not, as in mmdet
            row.fill_(BACKGROUND)
            if valid is not None:
                row.masked_fill_(~valid, IGNORED)
    return matched


def match_in_parts(
    assigner: MaxIoUAssigner,
    boxes: Tensor,
    truths: Tensor,
    ignored: Tensor | None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ground truth of each box, as :func:`match` gives it, and their overlap.

    Args:
        assigner: its options are used; see :func:`is_standard`.
        boxes: (A, 4) xyxy, one at least.
        truths: (G, 4) xyxy, one at least.
        ignored: (I, 4) xyxy, whose boxes are not background, or None.
        valid: (A,) bool, False for boxes that are not there, or None for all.

    Returns:
        (A,) int64: 0 for background, -1 for what is ignored, else the ground truth's index + 1;
        (A,) largest intersection over union.
    """
    rows = max(1, PART // max(len(boxes), 1))
    out = _ignored(assigner, boxes, ignored, rows)
    if valid is not None:
        out = ~valid if out is None else out | ~valid
    best = boxes.new_full((len(boxes),), -torch.inf)
    which = best.new_zeros(len(boxes), dtype=torch.long)
    forced = torch.zeros_like(which)
    for first in range(0, len(truths), rows):
        overlaps = _overlaps(truths[first : first + rows], boxes)
        if out is not None:
            overlaps.masked_fill_(out, -1)
        highest, row = overlaps.max(0)
        larger = highest > best
        best = torch.where(larger, highest, best)
        which = torch.where(larger, row + first, which)
        if assigner.match_low_quality:
            none = torch.zeros_like(which)[None]
            own = _low_quality(assigner, overlaps[None], None, none)[0]
            forced = torch.where(own > 0, own + first, forced)  # of several the last one
    matched = _by_threshold(assigner, best, which, out is not None)
    return torch.where(forced > 0, forced, matched), best


def _ignored(
    assigner: MaxIoUAssigner, boxes: Tensor, ignored: Tensor | None, rows: int
) -> Tensor | None:
    """(A,) bool, boxes that lie in what is ignored; None where nothing is."""
    if assigner.ignore_iof_thr <= 0 or ignored is None or not len(ignored):
        return None
    out = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for some in ignored.split(rows):
        out |= _covered(assigner, boxes, some)
    return out


def _by_threshold(assigner: MaxIoUAssigner, best: Tensor, which: Tensor, some_out: bool) -> Tensor:
    """Foreground, background or neither.

    Args:
        assigner: its thresholds are used.
        best: (..., A) largest overlap.
        which: (..., A) whose it is.
        some_out: whether an overlap may be -1, of a box that is neither.
    """
    low, high = 0.0, assigner.neg_iou_thr
    if isinstance(high, tuple):
        low, high = high
    rest: Tensor | int = BACKGROUND
    if some_out or low > 0:
        rest = torch.where((best < low) | (best >= high), IGNORED, BACKGROUND)
    elif high < assigner.pos_iou_thr:
        rest = torch.where(best >= high, IGNORED, BACKGROUND)
    return torch.where(best >= assigner.pos_iou_thr, which + 1, rest)


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
