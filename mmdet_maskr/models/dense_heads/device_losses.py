"""The RPN's losses at its sampled anchors, without a wait for the GPU.

Which anchors are sampled stays on the device: each image has as many rows as there may be samples,
and those that are none have weight zero. The sums are those of :mod:`.sampled_losses`.

Symbols: B images, A anchors of an image on all levels, G ground truths, R rows of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmdet.models.losses import CrossEntropyLoss, L1Loss, SmoothL1Loss
from mmdet.structures.bbox import BaseBoxes
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.models.task_modules import device_sampling, matching
from mmdet_maskr.models.task_modules.box_coding import encode
from mmdet_maskr.ops.constants import constant
from mmdet_maskr.ops.padding import padded

if TYPE_CHECKING:
    from mmdet.models.dense_heads import AnchorHead


OutputsAt = Callable[[Tensor], tuple[Tensor, Tensor]]
EPSILON = torch.finfo(torch.float32).eps  # mmdet's, next to the number of samples


def suits(head: AnchorHead, gt_instances: Sequence[InstanceData]) -> bool:
    """Whether :func:`device_losses` computes a head's losses: the usual ones, one class."""
    loss_cls = head.loss_cls
    return (
        matching.is_standard(head.assigner)
        and device_sampling.is_standard(head.sampler)
        and not head.sampler.add_gt_as_proposals
        and type(loss_cls) is CrossEntropyLoss
        and loss_cls.use_sigmoid
        and loss_cls.class_weight is None
        and loss_cls.reduction == "mean"
        and head.cls_out_channels == head.num_classes == 1
        and type(head.loss_bbox) in (L1Loss, SmoothL1Loss)
        and not head.reg_decoded_bbox
        and not any(isinstance(truth.bboxes, BaseBoxes) for truth in gt_instances)
    )


def device_losses(
    head: AnchorHead,
    outputs: OutputsAt,
    anchors: Tensor,
    counts: Sequence[Tensor | None],
    gt_instances: Sequence[InstanceData],
    gt_instances_ignore: Sequence[InstanceData | None],
) -> tuple[Tensor, Tensor]:
    """Losses of classification and regression of a batch.

    Args:
        head: its assigner, sampler, coder and losses are used; see :func:`suits`.
        outputs: gives logits (B, R) and deltas (B, R, 4) at anchors (B, R).
        anchors: (A, 4).
        counts: of each image (A,) bool, which anchors count; None for all.
        gt_instances: of each image, boxes.
        gt_instances_ignore: of each image, boxes that are not background, or None.
    """
    # 1. match and draw
    truths = [gt.bboxes for gt in gt_instances]
    ignored = [None if out is None else out.bboxes for out in gt_instances_ignore]
    every = padded(truths, least=1)  # (B, G, 4)
    matched = matching.match(head.assigner, anchors, truths, ignored, counts, every)
    drawn = device_sampling.draw(head.sampler, matched)
    rows = torch.cat([drawn.positive, drawn.negative], 1)  # (B, R)
    counting = drawn.counting()
    most = drawn.positive.shape[1]
    avg_factor = torch.stack([drawn.positives, drawn.negatives]).clamp(min=1).sum()

    # 2. object or not
    logits, deltas = outputs(rows)
    labels = constant([1] * most + [0] * (rows.shape[1] - most), logits).expand_as(logits)
    weights = counting.to(logits.dtype)
    if head.train_cfg["pos_weight"] > 0:
        weights[:, :most] *= head.train_cfg["pos_weight"]
    loss_cls = F.binary_cross_entropy_with_logits(logits, labels, weights, reduction="sum")
    loss_cls = head.loss_cls.loss_weight * loss_cls / (avg_factor + EPSILON)

    # 3. deltas of the positive ones; rows that do not count have target and prediction zero
    owner = (matched.gather(1, drawn.positive) - 1).clamp(min=0)
    boxes = every.gather(1, owner[..., None].expand(-1, -1, 4))
    counting = counting[:, :most].reshape(-1, 1)
    targets = encode(head.bbox_coder, anchors[drawn.positive.flatten()], boxes.flatten(0, 1))
    predicted = deltas[:, :most].reshape(-1, 4)
    loss_bbox = head.loss_bbox(
        predicted.where(counting, 0), targets.where(counting, 0), avg_factor=avg_factor
    )
    return loss_cls, loss_bbox
