"""Boxes to deltas and back by mmdet's coders, without copies of their constants to the device.

``DeltaXYWHBBoxCoder`` makes tensors of its means and deviations at each call, for which a GPU is
waited for. The functions here do the same operations in the same order; coders that compute in
another way are called as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder, DeltaXYWHBBoxCoder
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor

from mmdet_maskr.ops.constants import constant

LARGEST_RATIO = abs(math.log(16 / 1000))  # mmdet's limit of how a box may grow or shrink


def encode(coder: BaseBBoxCoder, boxes: Tensor | BaseBoxes, targets: Tensor | BaseBoxes) -> Tensor:
    """``coder.encode``: deltas (N, 4) from boxes (N, 4) to their targets (N, 4), xyxy."""
    boxes, targets = get_box_tensor(boxes), get_box_tensor(targets)
    if type(coder).encode is not DeltaXYWHBBoxCoder.encode:
        return coder.encode(boxes, targets)
    both = torch.stack([boxes, targets]).float()
    centers, to = ((both[..., :2] + both[..., 2:]) * 0.5).unbind()
    sizes, new = (both[..., 2:] - both[..., :2]).unbind()
    deltas = torch.cat([(to - centers) / sizes, torch.log(new / sizes)], 1)
    if any(coder.means):
        deltas = deltas.sub_(constant(coder.means, deltas))
    return deltas.div_(constant(coder.stds, deltas))


def decode(
    coder: BaseBBoxCoder,
    boxes: Tensor | BaseBoxes,
    deltas: Tensor,
    max_shape: Sequence[int] | None = None,
) -> Tensor | BaseBoxes:
    """``coder.decode``: boxes (N, 4) xyxy that deltas (N, 4) lead to from boxes (N, 4).

    Args:
        coder: of mmdet's or this package's.
        boxes: anchors or RoIs.
        deltas: one for each box.
        max_shape: height and width of the image to clip to.
    """
    plain = type(coder).decode is DeltaXYWHBBoxCoder.decode
    if not plain or coder.add_ctr_clamp or coder.use_box_type:
        return coder.decode(boxes, deltas, max_shape=max_shape)
    boxes = get_box_tensor(boxes)
    deltas = deltas * constant(coder.stds, deltas)
    if any(coder.means):
        deltas = deltas + constant(coder.means, deltas)
    centers = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    sizes = boxes[:, 2:] - boxes[:, :2]
    centers = centers + sizes * deltas[:, :2]
    halves = sizes * deltas[:, 2:].clamp(min=-LARGEST_RATIO, max=LARGEST_RATIO).exp() * 0.5
    decoded = torch.cat([centers - halves, centers + halves], 1)
    if coder.clip_border and max_shape is not None:
        decoded[:, 0::2].clamp_(min=0, max=max_shape[1])
        decoded[:, 1::2].clamp_(min=0, max=max_shape[0])
    return decoded
