"""The box branch's losses, with numbers of RoIs that are known on the host.

mmdet's BBoxHead finds the positive RoIs by their labels and counts labels to normalize, which takes
six GPU synchronizations. For sampled RoIs, both numbers are already known.

Symbols: R RoIs of a batch, N positive ones, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmdet_maskr.models.task_modules.box_coding import encode


def suits(head: nn.Module) -> bool:
    """Whether :func:`box_losses` computes a head's losses: mmdet's way, on deltas."""
    return (
        isinstance(head, BBoxHead)
        and all(
            getattr(type(head), name) is getattr(BBoxHead, name)
            for name in ("loss", "loss_and_target", "get_targets", "_get_targets_single")
        )
        and not head.reg_decoded_bbox
        and not head.custom_activation
        and head.with_cls
        and head.with_reg
    )


def box_losses(
    head: BBoxHead,
    cls_score: Tensor,
    bbox_pred: Tensor,
    sampling_results: Sequence[SamplingResult],
    cfg: ConfigDict,
) -> dict[str, Tensor]:
    """``loss_cls``, ``loss_bbox`` and ``acc`` of ``head.loss_and_target``.

    Args:
        head: see :func:`suits`.
        cls_score: (R, K + 1) logits, image by image, the positive RoIs of each first.
        bbox_pred: (R, 4 K), or (R, 4) of a class-agnostic head.
        sampling_results: of each image.
        cfg: ``train_cfg.rcnn``.
    """
    counts = [(len(own.pos_priors), len(own.neg_priors)) for own in sampling_results]
    total = sum(n + m for n, m in counts)
    starts = [0, *accumulate(n + m for n, m in counts)]
    losses: dict[str, Tensor] = {}

    # 1. classes
    labels, weights = [], []
    for own, (n, m) in zip(sampling_results, counts, strict=True):
        labels += [own.pos_gt_labels, own.pos_gt_labels.new_full((m,), head.num_classes)]
        weights += [(n, cfg.pos_weight if cfg.pos_weight > 0 else 1.0), (m, 1.0)]
    classes = torch.cat(labels)
    label_weights = None  # all one
    if any(weight != 1.0 for _, weight in weights):
        label_weights = torch.cat([cls_score.new_full((n,), weight) for n, weight in weights])
    if cls_score.numel() > 0:
        found = head.loss_cls(cls_score, classes, label_weights, avg_factor=max(total, 1.0))
        losses.update(found if isinstance(found, dict) else dict(loss_cls=found))
        hits = cls_score.argmax(1) == classes
        losses["acc"] = hits.sum(dtype=torch.float32).reshape(1) * (100.0 / total)  # percent

    # 2. boxes of the positive ones, of their class
    predicted = torch.cat(
        [bbox_pred[start : start + n] for start, (n, _) in zip(starts, counts, strict=False)]
    )
    if len(predicted) == 0:
        losses["loss_bbox"] = bbox_pred[:0].sum()
        return losses
    from_to = [own.pos_priors for own in sampling_results]
    from_to += [own.pos_gt_bboxes for own in sampling_results]
    targets = encode(head.bbox_coder, *torch.cat(from_to).chunk(2))
    if not head.reg_class_agnostic:
        own_class = torch.cat([own.pos_gt_labels for own in sampling_results])
        every = predicted.view(len(predicted), head.num_classes, -1)
        index = own_class[:, None, None].expand(-1, 1, every.shape[2])
        predicted = every.gather(1, index)[:, 0]
    losses["loss_bbox"] = head.loss_bbox(predicted, targets, avg_factor=total)
    return losses
