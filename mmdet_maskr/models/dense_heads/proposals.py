"""Which anchors become proposals, in mmdet's convention and in others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.models.conventions import clipped
from mmdet_maskr.ops.nms import grouped_nms


def best_of_levels(
    scores: Sequence[Tensor], deltas: Sequence[Tensor], anchors: Sequence[Tensor], nms_pre: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best anchors of each level, as mmdet chooses them, for a batch of B images.

    Args:
        scores: for each level (B, n_l).
        deltas: for each level (B, n_l, 4).
        anchors: for each level (n_l, 4).
        nms_pre: how many of a level at most; no limit if not positive.

    Returns:
        Scores (B, K), deltas (B, K, 4), anchors (B, K, 4) and the level (K,) of each.
    """
    best_scores, best_deltas, best_anchors, level_ids = [], [], [], []
    for level, (own, level_deltas, level_anchors) in enumerate(
        zip(scores, deltas, anchors, strict=True)
    ):
        batch, count = own.shape
        if 0 < nms_pre < count:
            count = nms_pre
            own, order = own.sort(descending=True)  # among equal scores as mmdet, unlike topk
            own, order = own[:, :count], order[:, :count]
            level_deltas = level_deltas.gather(1, order[..., None].expand(-1, -1, 4))
            level_anchors = level_anchors[order]
        best_scores.append(own)
        best_deltas.append(level_deltas)
        best_anchors.append(level_anchors.expand(batch, -1, -1))
        level_ids.append(torch.full((count,), level, device=own.device))
    return (
        torch.cat(best_scores, 1),
        torch.cat(best_deltas, 1),
        torch.cat(best_anchors, 1),
        torch.cat(level_ids),
    )


def select_proposals(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    coder: BaseBBoxCoder,
    image_shape: Sequence[int],
    cfg: ConfigDict,
    convention: str,
) -> InstanceData:
    """Proposals of an image: the best boxes of each level, NMS within levels, the best of all.

    mmdet ranks sigmoids, where large logits are ties, and moves levels apart before NMS. Both of
    these codebases rank logits and use torchvision's NMS (:func:`grouped_nms`). 'detectron2' drops
    boxes and logits that are not finite. After clipping, it keeps sides above ``cfg.min_bbox_size``
    and goes on ranking logits; 'torchvision' keeps sides of at least ``cfg.min_bbox_size`` (1e-3
    there) and ranks sigmoids.

    Args:
        logits: for each level (H_l W_l A,).
        deltas: for each level (H_l W_l A, 4).
        anchors: for each level (H_l W_l A, 4).
        coder: decodes deltas and clips boxes.
        image_shape: (height, width) of the image without padding.
        cfg: ``nms_pre`` a level, ``nms.iou_threshold``, ``max_per_img``, ``min_bbox_size``.
        convention: 'detectron2' or 'torchvision'.

    Returns:
        ``bboxes`` (P, 4), ``scores`` (P,) probabilities, ``labels`` (P,) zeros; best first.
    """
    boxes, ranks, levels = [], [], []
    for level, (level_logits, level_deltas, level_anchors) in enumerate(
        zip(logits, deltas, anchors, strict=True)
    ):
        count = len(level_logits)
        if cfg.get("nms_pre", -1) > 0:
            count = min(cfg.nms_pre, count)
        best, index = level_logits.topk(count)
        boxes.append(coder.decode(level_anchors[index], level_deltas[index]))
        ranks.append(best)
        levels.append(torch.full_like(index, level))
    found = InstanceData(bboxes=torch.cat(boxes), ranks=torch.cat(ranks), levels=torch.cat(levels))
    if convention == "torchvision":
        found.ranks = found.ranks.sigmoid()
    else:
        found = found[found.bboxes.isfinite().all(1) & found.ranks.isfinite()]
    if getattr(coder, "clip_border", True):
        found.bboxes = clipped(found.bboxes, image_shape)
    smallest = cfg.get("min_bbox_size", -1)
    sides = found.bboxes[:, 2:] - found.bboxes[:, :2]
    large = sides >= smallest if convention == "torchvision" else sides > smallest
    found = found[large.all(1)]
    keep = grouped_nms(found.bboxes, found.ranks, found.levels, cfg.nms.iou_threshold)
    found = found[keep[: cfg.max_per_img]]
    scores = found.ranks if convention == "torchvision" else found.ranks.sigmoid()
    return InstanceData(bboxes=found.bboxes, scores=scores, labels=torch.zeros_like(found.levels))
