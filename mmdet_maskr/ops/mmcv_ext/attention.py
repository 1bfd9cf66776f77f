"""Multi-scale deformable attention on accelerators; on a CPU MMCV does not ask its extension."""

from __future__ import annotations

import torch
from torch import Tensor


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int = 64,
) -> Tensor:
    """MMCV's own formula in torch.

    Args:
        value: (B, keys, heads, channels).
        spatial_shapes: (levels, 2) height and width of each map.
        level_start_index: (levels,) first key of each map.
        sampling_locations: (B, queries, heads, levels, points, 2) x, y from 0 to 1.
        attention_weights: (B, queries, heads, levels, points).
        im2col_step: has no meaning here.

    Returns:
        (B, queries, heads * channels).
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(
        value, spatial_shapes, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_locations: Tensor,
    grad_attention_weights: Tensor,
    im2col_step: int = 64,
) -> None:
    """Write the gradients of value, locations and weights; see :func:`ms_deform_attn_forward`."""
    inputs = [
        tensor.detach().requires_grad_()
        for tensor in (value, sampling_locations, attention_weights)
    ]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            inputs[0], spatial_shapes, level_start_index, inputs[1], inputs[2], im2col_step
        )
    found = torch.autograd.grad(output, inputs, grad_output)
    targets = (grad_value, grad_sampling_locations, grad_attention_weights)
    for target, grad in zip(targets, found, strict=True):
        target.copy_(grad)
