"""Samples RoIs of all images of a batch together, with one GPU synchronization.

Symbols: B images, G ground truths, P proposals of an image, M candidates at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import BaseBoxes
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.models.task_modules import device_sampling, matching
from mmdet_maskr.ops.padding import padded


class DeviceSamplingResult(SamplingResult):
    """mmdet's SamplingResult, made from existing tensors.

    Args:
        pos_inds, neg_inds: (n,), (m,) candidates, in no order.
        pos_priors, neg_priors: (n, 4), (m, 4) their boxes.
        pos_assigned_gt_inds: (n,) ground truth of each positive one.
        pos_gt_bboxes, pos_gt_labels: (n, 4), (n,) its box and label.
        pos_is_gt: (n,) uint8, whether the candidate is a ground truth itself.
        num_gts: G.
    """

    def __init__(
        self,
        *,
        pos_inds: Tensor,
        neg_inds: Tensor,
        pos_priors: Tensor,
        neg_priors: Tensor,
        pos_assigned_gt_inds: Tensor,
        pos_gt_bboxes: Tensor,
        pos_gt_labels: Tensor,
        pos_is_gt: Tensor,
        num_gts: int,
    ) -> None:
        self.pos_inds, self.neg_inds = pos_inds, neg_inds
        self.num_pos, self.num_neg = max(len(pos_inds), 1), max(len(neg_inds), 1)
        self.avg_factor_with_neg = True
        self.avg_factor = self.num_pos + self.num_neg
        self.pos_priors, self.neg_priors = pos_priors, neg_priors
        self.pos_is_gt = pos_is_gt
        self.num_gts = num_gts
        self.pos_assigned_gt_inds = pos_assigned_gt_inds
        self.pos_gt_labels, self.pos_gt_bboxes = pos_gt_labels, pos_gt_bboxes


def suits(assigner: Any, sampler: Any, boxes: Sequence[Tensor]) -> bool:
    """Whether :func:`sample` does what mmdet's assigner and sampler do, on these boxes' device."""
    return (
        matching.is_standard(assigner)
        and device_sampling.is_standard(sampler)
        and not any(isinstance(own, BaseBoxes) or own.device.type == "cpu" for own in boxes)
    )


def sample(
    assigner: Any,
    sampler: Any,
    proposals: Sequence[Tensor],
    gt_instances: Sequence[InstanceData],
    ignored_instances: Sequence[InstanceData],
) -> list[SamplingResult]:
    """Match proposals with ground truth and draw the RoIs to train on.

    Args:
        assigner: its options are used; see :func:`suits`.
        sampler: its options are used; samples differ from its own.
        proposals: of each image (P, 4) xyxy.
        gt_instances: of each image ``bboxes`` (G, 4) and ``labels`` (G,).
        ignored_instances: of each image ``bboxes`` that are not background.
    """
    # 1. candidates of each image: ground truths, if wanted, then proposals
    boxes = [gt.bboxes for gt in gt_instances]
    truths = padded(boxes, least=1)  # (B, G, 4)
    labels = padded([gt.labels for gt in gt_instances], least=1)
    every = padded(proposals)  # (B, M, 4)
    ignored = [own.bboxes for own in ignored_instances]
    which = matching.match(assigner, every, boxes, ignored, every=truths)
    for row, own in zip(which, proposals, strict=True):
        if len(own) < which.shape[1]:
            row[len(own) :] = matching.IGNORED
    most = max(map(len, boxes)) if sampler.add_gt_as_proposals else 0
    if most:
        itself = torch.arange(1, most + 1, device=every.device).repeat(len(boxes), 1)
        for row, own in zip(itself, boxes, strict=True):
            if len(own) < most:
                row[len(own) :] = matching.IGNORED
        every = torch.cat([truths[:, :most], every], 1)  # (B, G + M, 4)
        which = torch.cat([itself, which], 1)  # (B, G + M)

    # 2. draw; the host has to know how many there are of each image
    drawn = device_sampling.draw(sampler, which)
    numbers = torch.stack([drawn.positives, drawn.negatives]).tolist()

    # 3. box, ground truth and label of each
    positive = _rows(every, drawn.positive)  # (B, n, 4)
    negative = _rows(every, drawn.negative)
    owner = (which.gather(1, drawn.positive) - 1).clamp(min=0)
    targets = _rows(truths, owner)
    classes = labels.gather(1, owner)
    results: list[SamplingResult] = []
    for i, (n, m) in enumerate(zip(*numbers, strict=True)):
        own, other = drawn.positive[i, :n], drawn.negative[i, :m]
        is_gt = own < most
        missing = max(most - len(boxes[i]), 0)
        if most and missing:  # without the rows of ground truths that are not there
            own = own.where(is_gt, own - missing)
            other = other.where(other < most, other - missing)
        results.append(
            DeviceSamplingResult(
                pos_inds=own,
                neg_inds=other,
                pos_priors=positive[i, :n],
                neg_priors=negative[i, :m],
                pos_assigned_gt_inds=owner[i, :n],
                pos_gt_bboxes=targets[i, :n],
                pos_gt_labels=classes[i, :n],
                pos_is_gt=is_gt.byte(),
                num_gts=len(boxes[i]),
            )
        )
    return results


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """(B, n, 4) rows of values (B, M, 4) by index (B, n)."""
    return values.gather(1, index[..., None].expand(-1, -1, 4))
