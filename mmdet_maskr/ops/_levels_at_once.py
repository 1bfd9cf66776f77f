"""RoIAlign from a pyramid on a GPU, which nobody waits for: mmcv's kernels, one a level.

All RoIs are pooled from each level, those of other levels from nowhere, so that nobody has to know
how many a level has. Each kernel writes into its part of one tensor, and the backward pass has one
tensor for the gradients of all levels.

Symbols: L levels, N RoIs, P x Q bins.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmdet_maskr.ops.constants import constant, counting

FAR = -1e6  # pixels: off every map, at any stride
AVERAGE = 1  # mmcv's pool_mode
MMCV = importlib.import_module("mmcv.ops.roi_align")  # mmcv.ops has a function of that name


def align_levels(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    output_size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool (N, 5) RoIs from their levels (N,) to (N, C, P, Q), the mean of a bin's samples.

    Args:
        features: for each level (B, C, H_l, W_l), contiguous, in the type of the RoIs.
        rois: image index, x1, y1, x2, y2; one at least.
        levels: in [0, L).
        output_size: P and Q.
        scales: of each level.
        sampling_ratio: samples per bin and axis; 0 for as many as the bin has pixels.
        aligned: pixel centers lie at .5.
    """
    nowhere = constant((0, FAR, FAR, FAR, FAR), rois)
    every = constant(range(len(features)), levels)[:, None, None]
    of_levels = torch.where(levels[:, None] == every, rois, nowhere)
    options = dict(
        aligned_height=output_size[0],
        aligned_width=output_size[1],
        sampling_ratio=sampling_ratio,
        pool_mode=AVERAGE,
        aligned=aligned,
    )
    return _AlignLevels.apply(of_levels, levels, tuple(scales), options, *features)


class _AlignLevels(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        of_levels: Tensor,
        levels: Tensor,
        scales: tuple[float, ...],
        options: dict[str, Any],
        *features: Tensor,
    ) -> Tensor:
        ctx.scales, ctx.options = scales, options
        ctx.shapes = [level.shape for level in features]
        ctx.save_for_backward(of_levels)
        bins = options["aligned_height"], options["aligned_width"]
        number, depth = of_levels.shape[1], features[0].shape[1]
        pooled = features[0].new_empty(len(features), number, depth, *bins)
        none = pooled.new_empty(0)  # the largest samples, of max pooling
        for level, rois, out, scale in zip(features, of_levels, pooled, scales, strict=True):
            MMCV.ext_module.roi_align_forward(
                level, rois, out, none, none, spatial_scale=scale, **options
            )
        return pooled[levels, counting(number, levels)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (of_levels,) = ctx.saved_tensors
        grad = grad.contiguous()
        sizes = [shape.numel() for shape in ctx.shapes]
        every = grad.new_zeros(sum(sizes))
        none = grad.new_empty(0)
        found = [own.view(shape) for own, shape in zip(every.split(sizes), ctx.shapes, strict=True)]
        for rois, into, scale in zip(of_levels, found, ctx.scales, strict=True):
            MMCV.ext_module.roi_align_backward(
                grad, rois, none, none, into, spatial_scale=scale, **ctx.options
            )
        return None, None, None, None, *found
