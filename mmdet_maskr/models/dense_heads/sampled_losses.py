"""The RPN's losses at its sampled anchors.

mmdet writes labels, weights and targets of every anchor of a batch, half a million rows at full
size, and takes the loss of all of them: all but 256 rows of an image have weight zero. Here the
sampled rows are all that there is, which gives the same sums.

Symbols: B images, A anchors of an image on all levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.dense_heads.device_losses import OutputsAt, device_losses, suits
from mmdet_maskr.models.dense_heads.proposals import joined
from mmdet_maskr.models.dense_heads.sampled_rows import outputs_at
from mmdet_maskr.models.task_modules.box_coding import encode
from mmdet_maskr.models.task_modules.matching import assign

if TYPE_CHECKING:
    from mmdet.models.dense_heads import AnchorHead

    from mmdet_maskr.models.dense_heads.rpn_head import SampledRPNHead


def sampled_losses(
    head: SampledRPNHead,
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    gt_instances: Sequence[InstanceData],
    img_metas: Sequence[dict],
    gt_instances_ignore: Sequence[InstanceData | None],
    features: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor, list[SamplingResult] | None]:
    """Losses of a head with a sampler: those of ``AnchorHead.loss_by_feat``, summed over levels.

    On a GPU the usual heads' stay there, see :mod:`.device_losses`, and draw other random numbers
    than mmdet's sampler.

    Args:
        head: its assigner, sampler, coder and losses are used; random numbers are drawn in mmdet's
            order.
        logits: of each level (B, anchors of a cell * classes, H_l, W_l).
        deltas: of each level (B, anchors of a cell * 4, H_l, W_l).
        gt_instances: of each image, boxes and labels.
        img_metas: of each image, ``img_shape`` and ``pad_shape``.
        gt_instances_ignore: of each image, boxes that are not background, or None.
        features: of each level (B, C, H_l, W_l), where logits and deltas have no gradients; see
            :mod:`.sampled_rows`.

    Returns:
        The loss of classification, that of regression, and the samples of each image; None where
        they stayed on the device.

    Raises:
        UserError: an image has no anchor that counts.
    """
    # 1. anchors of all levels in rows
    sizes = [level.shape[2:] for level in logits]
    # float32 for logits of any type, as mmdet's
    anchors = head.anchor_grids.all_anchors(sizes, logits[0][:0].float())
    # 2. on a GPU: matched, sampled and summed there
    if logits[0].device.type != "cpu" and suits(head, gt_instances):
        border = head.train_cfg["allowed_border"]
        counts = [
            head.anchor_grids.flags(
                sizes, anchors, tuple(meta["pad_shape"][:2]), tuple(meta["img_shape"][:2]), border
            )
            for meta in img_metas
        ]
        losses = device_losses(
            head,
            _outputs(head, logits, deltas, features),
            anchors,
            counts,
            gt_instances,
            gt_instances_ignore,
        )
        return (*losses, None)
    # 3. match and sample each image's anchors; rows of the samples in the flat predictions
    flat_logits = joined(logits, head.cls_out_channels).flatten(0, 1)
    flat_deltas = joined(deltas, head.bbox_coder.encode_size).flatten(0, 1)
    chosen = _anchors_that_count(head, sizes, anchors, img_metas)
    samples: list[SamplingResult] = []
    positive: list[Tensor] = []
    negative: list[Tensor] = []
    for i, (rows, gt, ignored) in enumerate(
        zip(chosen, gt_instances, gt_instances_ignore, strict=True)
    ):
        priors = InstanceData(priors=anchors if rows is None else anchors[rows])
        assigned = assign(head.assigner, priors, gt, ignored)
        sample = head.sampler.sample(assigned, priors, gt)
        samples.append(sample)
        for found, into in ((sample.pos_inds, positive), (sample.neg_inds, negative)):
            into.append((found if rows is None else rows[found]) + i * len(anchors))
    positives, negatives = torch.cat(positive), torch.cat(negative)  # (P,), (N,)
    avg_factor = sum(sample.avg_factor for sample in samples)

    # 4. classification: of positives and negatives
    labels = torch.cat([sample.pos_gt_labels for sample in samples])
    labels = torch.cat([labels, labels.new_full((len(negatives),), head.num_classes)])  # (P + N,)
    weights = flat_logits.new_ones(len(labels))
    if head.train_cfg["pos_weight"] > 0:
        weights[: len(positives)] = head.train_cfg["pos_weight"]
    loss_cls = head.loss_cls(
        flat_logits[torch.cat([positives, negatives])], labels, weights, avg_factor=avg_factor
    )

    # 5. regression: of positives
    priors = torch.cat([sample.pos_priors for sample in samples])
    targets = torch.cat([get_box_tensor(sample.pos_gt_bboxes) for sample in samples])
    predicted = flat_deltas[positives]  # (P, 4)
    if head.reg_decoded_bbox:
        predicted = get_box_tensor(head.bbox_coder.decode(priors, predicted))
    else:
        targets = encode(head.bbox_coder, priors, targets)
    loss_bbox = head.loss_bbox(predicted, targets, torch.ones_like(targets), avg_factor=avg_factor)
    return loss_cls, loss_bbox, samples


def _outputs(
    head: SampledRPNHead,
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    features: Sequence[Tensor] | None,
) -> OutputsAt:
    """Gives logits (B, R) and deltas (B, R, 4) at anchors (B, R)."""
    if features is not None:
        return partial(outputs_at, head, features)
    every = joined(logits, 1), joined(deltas, 4)
    return lambda rows: (
        every[0][..., 0].gather(1, rows),
        every[1].gather(1, rows[..., None].expand(-1, -1, 4)),
    )


def _anchors_that_count(
    head: AnchorHead,
    sizes: Sequence[tuple[int, int]],
    anchors: Tensor,
    img_metas: Sequence[dict],
) -> list[Tensor | None]:
    """Of each image the anchors that are not in its padding, as rising indices; None for all."""
    border = head.train_cfg["allowed_border"]
    found: dict[tuple, Tensor | None] = {}
    keys = [(tuple(meta["pad_shape"][:2]), tuple(meta["img_shape"][:2])) for meta in img_metas]
    for key in dict.fromkeys(keys):
        flags = head.prior_generator.valid_flags(sizes, key[0], anchors.device)
        flags = anchor_inside_flags(anchors, torch.cat(flags), key[1], border)
        if not flags.any():
            raise UserError(
                f"No anchor lies inside an image of {key[1]} (height, width): use smaller anchors "
                "in rpn_head.anchor_generator, or train_cfg.rpn.allowed_border=-1."
            )
        found[key] = None if flags.all() else flags.nonzero()[:, 0]
    return [found[key] for key in keys]
