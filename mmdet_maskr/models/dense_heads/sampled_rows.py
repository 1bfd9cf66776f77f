"""The RPN's outputs at sampled anchors, computed again, without a wait for the GPU.

The RPN's loss looks at 256 anchors of an image out of a quarter of a million. Where the map's
outputs are computed without gradients, those of the sampled anchors are had again from the 3x3
patches of features around their cells, with gradients: one product in place of the backward pass
of a convolution on each level, and no activations of the head in memory.
:mod:`.sampled_backward` does the same on a CPU, where the number of cells may be asked for.

Symbols: B images, C channels, S cells of all levels, A anchors of a cell, R rows of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet_maskr.models.dense_heads.sampled_backward import SHIFTS
from mmdet_maskr.ops.constants import constant

if TYPE_CHECKING:
    from mmdet.models.dense_heads import RPNHead


def suits(head: RPNHead) -> bool:
    """Whether :func:`outputs_at` computes a head's outputs: one hidden convolution, one class."""
    layers = (head.rpn_conv, head.rpn_cls, head.rpn_reg)
    if not all(type(layer) is nn.Conv2d and layer.bias is not None for layer in layers):
        return False
    hidden = head.rpn_conv
    form = (hidden.kernel_size, hidden.padding, hidden.stride, hidden.dilation, hidden.groups)
    return head.cls_out_channels == 1 and form == ((3, 3), (1, 1), (1, 1), (1, 1), 1)


def outputs_at(head: RPNHead, x: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, R) and deltas (B, R, 4) of anchors, float32, with gradients.

    Args:
        head: whose layers are used, see :func:`suits`.
        x: for each level (B, C, H_l, W_l).
        rows: (B, R) indices of anchors: level by level, cell by cell, the A of a cell in a row.
    """
    anchors = len(head.rpn_cls.weight)
    cells = rows.div(anchors, rounding_mode="floor")
    patches = _patches(x, cells)
    # 1. the two layers, on rows
    kernel = head.rpn_conv.weight.permute(0, 2, 3, 1).flatten(1)  # (F, 9 C), as patches are
    hidden = F.linear(patches, kernel, head.rpn_conv.bias).relu_()
    weight, bias = joined_outputs(head)
    outputs = F.linear(hidden, weight.flatten(1), bias).float()  # (B R, 5 A): logits, deltas
    # 2. the row's own anchor
    columns = [(a, *range(anchors + 4 * a, anchors + 4 * a + 4)) for a in range(anchors)]
    table = constant([column for own in columns for column in own], rows).view(anchors, 5)
    own = outputs.gather(1, table[(rows % anchors).flatten()])
    logits, deltas = own.view(*rows.shape, 5).split([1, 4], 2)
    return logits[..., 0], deltas


def joined_outputs(head: RPNHead) -> tuple[Tensor, Tensor]:
    """Weight (5 A, F, 1, 1) and bias of one convolution for logits and deltas."""
    layers = (head.rpn_cls, head.rpn_reg)
    return torch.cat([own.weight for own in layers]), torch.cat([own.bias for own in layers])


def _patches(x: Sequence[Tensor], cells: Tensor) -> Tensor:
    """(B R, 9 C) features around cells (B, R), zeros outside of their level."""
    sizes = [tuple(level.shape[2:]) for level in x]
    starts = [0, *accumulate(height * width for height, width in sizes)]
    # 1. where each cell is in its level
    level = torch.bucketize(cells, constant(starts[1:-1], cells), right=True)
    facts = [
        (start, width, height - 1, width - 1, *(dy * width + dx for dy, dx in SHIFTS))
        for start, (height, width) in zip(starts, sizes, strict=False)
    ]
    table = constant([number for own in facts for number in own], cells).view(len(facts), -1)
    of_cell = table[level]
    place = cells - of_cell[..., 0]
    width = of_cell[..., 1]
    corner = torch.stack([place.div(width, rounding_mode="floor"), place % width], -1)
    # 2. its neighbors; those outside are the cell S, which is zero
    shifts = constant([step for shift in SHIFTS for step in shift], cells).view(-1, 2)
    around = corner[..., None, :] + shifts  # (B, R, 9, 2)
    nearest = around.clamp(min=0).minimum(of_cell[..., None, 2:4])
    index = (cells[..., None] + of_cell[..., 4:]).where((around == nearest).all(-1), starts[-1])
    zero = x[0].new_zeros(*x[0].shape[:2], 1)
    pixels = torch.cat([*(own.flatten(2) for own in x), zero], 2)  # (B, C, S + 1)
    image = constant(range(len(cells)), cells)[:, None]
    return pixels[image, :, index.flatten(1)].reshape(cells.numel(), -1)
