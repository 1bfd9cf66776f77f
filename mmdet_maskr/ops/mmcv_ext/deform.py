"""Deformable convolutions (Dai et al. 2017, Zhu et al. 2019) in torch, or by torchvision's kernel.

Sampling is a sparse product: each kernel tap reads four pixels around its place. Gradients are
those of the same code, computed again in the backward pass: MMCV keeps no columns either.

Symbols: B images, C and D channels in and out, G groups of offsets, K = kh * kw taps, L places of
the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdet_maskr.ops.mmcv_ext import torchvision
from mmdet_maskr.ops.mmcv_ext.elsewhere import or_on_cpu


@dataclass(frozen=True)
class Options:
    """Of a convolution, each pair as (height, width)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_groups: int

    @classmethod
    def of_plain(cls, **given: int) -> Options:
        """From the keywords of MMCV's deformable convolution; the kernel's size is the weight's."""
        stride, padding, dilation = (
            (given[f"{name}H"], given[f"{name}W"]) for name in ("d", "pad", "dilation")
        )
        return cls(stride, padding, dilation, given["group"], given["deformable_group"])

    @classmethod
    def of_modulated(cls, **given: int) -> Options:
        """From the keywords of MMCV's modulated deformable convolution."""
        stride, padding, dilation = (
            (given[f"{name}_h"], given[f"{name}_w"]) for name in ("stride", "pad", "dilation")
        )
        return cls(stride, padding, dilation, given["group"], given["deformable_group"])


def deform_convolution(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    options: Options,
) -> Tensor:
    """A convolution whose taps are moved, and weighted where there is a mask.

    Args:
        input: (B, C, H, W).
        weight: (D, C / groups, kh, kw).
        offset: (B, G * K * 2, H', W'): y, x of each tap in pixels of the input.
        mask: (B, G * K, H', W') weight of each tap.
        bias: (D,).
        options: of the convolution.

    Returns:
        (B, D, H', W'); differentiable in all tensors.
    """
    if torchvision.has("deform_conv2d", input.device.type):
        return torchvision.op("deform_conv2d")(
            input, offset, weight, bias, options.stride, options.padding, options.dilation, mask
        )
    tensors = [input, weight, offset, *(t for t in (mask, bias) if t is not None)]

    def convolve(input: Tensor, weight: Tensor, offset: Tensor, *rest: Tensor) -> Tensor:
        own_mask = rest[0] if mask is not None else None
        own_bias = rest[-1] if bias is not None else None
        columns = _columns(input, offset, own_mask, weight.shape[2:], options)
        return _multiply(columns, weight, own_bias, offset.shape[2:], options.groups)

    return or_on_cpu("deformable convolution", convolve, *tensors)


def _columns(
    input: Tensor, offset: Tensor, mask: Tensor | None, kernel: Sequence[int], options: Options
) -> Tensor:
    """(B, L, K, C): what each tap reads at each place of the output."""
    batch, channels, height, width = input.shape
    taps, groups = kernel[0] * kernel[1], options.offset_groups
    out_h, out_w = offset.shape[2:]
    # 1. Where each tap reads, (B, L, K, G).
    places = offset.view(batch, groups, taps, 2, out_h * out_w).permute(0, 4, 2, 1, 3)
    y, x = places.unbind(-1)
    y = y + _grid(out_h, kernel[0], 0, options, input)[:, None, :, None].expand(
        -1, out_w, -1, kernel[1]
    ).reshape(out_h * out_w, taps, 1)
    x = x + _grid(out_w, kernel[1], 1, options, input)[None, :, None, :].expand(
        out_h, -1, kernel[0], -1
    ).reshape(out_h * out_w, taps, 1)
    # 2. The four pixels around it and their weights, (B, L, K, G, 4); pixels outside count nothing.
    top, left = y.detach().floor(), x.detach().floor()
    ly, lx = y - top, x - left
    weights = torch.stack([(1 - ly) * (1 - lx), (1 - ly) * lx, ly * (1 - lx), ly * lx], -1)
    rows = torch.stack([top, top, top + 1, top + 1], -1)
    cols = torch.stack([left, left + 1, left, left + 1], -1)
    inside = (rows >= 0) & (rows <= height - 1) & (cols >= 0) & (cols <= width - 1)
    weights = weights * inside
    if mask is not None:
        weights = weights * mask.view(batch, groups, taps, -1).permute(0, 3, 2, 1)[..., None]
    # 3. One table of pixels for each image and group of channels.
    pixels = rows.clamp(0, height - 1).long() * width + cols.clamp(0, width - 1).long()
    first = torch.arange(batch, device=input.device)[:, None, None, None] * groups
    first = (first + torch.arange(groups, device=input.device)) * (height * width)
    table = input.view(batch, groups, channels // groups, height * width).transpose(2, 3)
    values = F.embedding_bag(
        (pixels + first[..., None]).reshape(-1, 4),
        table.reshape(-1, channels // groups),
        mode="sum",
        per_sample_weights=weights.reshape(-1, 4),
    )
    return values.view(batch, out_h * out_w, taps, channels)


def _grid(count: int, taps: int, axis: int, options: Options, like: Tensor) -> Tensor:
    """(count, taps): where the taps of an ordinary convolution read along one axis."""
    places = torch.arange(count, device=like.device, dtype=like.dtype)
    reach = torch.arange(taps, device=like.device, dtype=like.dtype)
    begin = places * options.stride[axis] - options.padding[axis]
    return begin[:, None] + reach * options.dilation[axis]


def _multiply(
    columns: Tensor, weight: Tensor, bias: Tensor | None, size: Sequence[int], groups: int
) -> Tensor:
    """(B, D, H', W') of columns (B, L, K, C)."""
    parts = [
        part.flatten(2) @ own.permute(2, 3, 1, 0).flatten(0, 2)
        for part, own in zip(columns.chunk(groups, 3), weight.chunk(groups), strict=True)
    ]
    output = torch.cat(parts, 2)
    if bias is not None:
        output = output + bias
    return output.transpose(1, 2).unflatten(2, tuple(size)).contiguous()


def _gradients(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None],
    options: Options,
    grad_output: Tensor,
    wanted: Sequence[int] = range(5),
) -> list[Tensor | None]:
    """Gradients of those of (input, weight, offset, mask, bias) that are wanted and not None."""
    leaves: list[Any] = [
        None if tensor is None else tensor.detach().requires_grad_(place in wanted)
        for place, tensor in enumerate(inputs)
    ]
    with torch.enable_grad():
        input, weight, offset, mask, bias = leaves
        output = deform_convolution(input, weight, offset, mask, bias, options)
    used = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    found = iter(torch.autograd.grad(output, used, grad_output))
    return [next(found) if leaf is not None and leaf.requires_grad else None for leaf in leaves]


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Write (B, D, H', W') into ``output``; see :func:`deform_convolution`."""
    options = Options.of_plain(**geometry)
    output.copy_(deform_convolution(input, weight, offset, None, None, options))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Write the gradients of input and offset, (B, C, H, W) and (B, G * K * 2, H', W')."""
    inputs = (input, weight, offset, None, None)
    found = _gradients(inputs, Options.of_plain(**geometry), grad_output, wanted=(0, 2))
    grad_input.copy_(found[0])
    grad_offset.copy_(found[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Add ``scale`` times the weight's gradient to ``grad_weight``, (D, C / groups, kh, kw)."""
    # the output is linear in the weight: its value does not matter
    inputs = (input, torch.zeros_like(grad_weight), offset, None, None)
    found = _gradients(inputs, Options.of_plain(**geometry), grad_output, wanted=(1,))
    grad_weight.add_(found[1], alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Write (B, D, H', W') into ``output``; see :func:`deform_convolution`."""
    own_bias = bias if with_bias else None
    options = Options.of_modulated(**geometry)
    output.copy_(deform_convolution(input, weight, offset, mask, own_bias, options))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Write the gradients of input, weight, offset, mask, and of the bias where there is one.

    Shapes are those of :func:`deform_convolution`.
    """
    inputs = (input, weight, offset, mask, bias if with_bias else None)
    targets = (grad_input, grad_weight, grad_offset, grad_mask, grad_bias)
    found = _gradients(inputs, Options.of_modulated(**geometry), grad_output)
    for target, grad in zip(targets, found, strict=True):
        if grad is not None:
            target.copy_(grad)
