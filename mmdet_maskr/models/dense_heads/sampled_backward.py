"""The RPN's layers on one pyramid level, with a backward pass at the sampled anchors alone.

The RPN's loss looks at 256 anchors of an image out of a quarter of a million. The gradient of the
logits is zero everywhere else, and so is all that follows from it: the same sums are had from the
few cells with a gradient, by products with the 3x3 patches around them. Nothing but the feature map
is kept for that.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CELLS = 4096  # that one product works on, so that memory stays small for any loss
SHIFTS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@torch.compiler.disable  # how many cells have a gradient is known when it runs
def hidden_and_outputs(
    x: Tensor, weight: Tensor, bias: Tensor, out_weight: Tensor, out_bias: Tensor
) -> Tensor:
    """``conv1x1(relu(conv3x3(x)))``, for losses that look at few cells.

    Args:
        x: (B, C, H, W).
        weight, bias: (F, C, 3, 3), (F,) of the 3x3 convolution with padding 1.
        out_weight, out_bias: (D, F, 1, 1), (D,) of the 1x1 convolution.

    Returns:
        (B, D, H, W). Its gradients are exact for any loss; they are fast where most of it is
        zero.
    """
    return _SampledBackward.apply(x, weight, bias, out_weight, out_bias)


class _SampledBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, bias: Tensor, out_weight: Tensor, out_bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, out_weight)
        hidden = F.conv2d(x, weight, bias, padding=1)
        return F.conv2d(hidden.relu_(), out_weight, out_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias, out_weight = ctx.saved_tensors
        dtype = torch.promote_types(x.dtype, torch.float32)
        kernel = weight.to(dtype).permute(0, 2, 3, 1).flatten(1)  # (F, 9 C), as patches are
        out_kernel = out_weight.to(dtype).flatten(1)
        grad_x = torch.zeros_like(x, dtype=dtype) if ctx.needs_input_grad[0] else None
        sums = [torch.zeros_like(t) for t in (kernel, kernel[:, 0], out_kernel, out_kernel[:, 0])]
        for cells in _cells(grad):
            image, row, column = cells.unbind(1)
            rows = grad[image, :, row, column].to(dtype)
            patches = _patches(x, image, row, column).to(dtype)
            hidden = torch.addmm(bias.to(dtype), patches, kernel.t()).relu_()
            grad_hidden = (rows @ out_kernel).mul_(hidden > 0)
            sums[0].addmm_(grad_hidden.t(), patches)
            sums[1] += grad_hidden.sum(0)
            sums[2].addmm_(rows.t(), hidden)
            sums[3] += rows.sum(0)
            if grad_x is not None:
                _add_patches(grad_x, grad_hidden @ kernel, image, row, column)
        grad_weight = sums[0].view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)
        grads = (grad_weight, sums[1], sums[2].view_as(out_weight), sums[3])
        grads = [g.to(weight.dtype) for g in grads]
        return None if grad_x is None else grad_x.to(x.dtype), *grads


def _cells(grad: Tensor) -> Iterator[Tensor]:
    """(n, 3) image, row and column of the cells whose gradient is not zero, some at a time."""
    cells = (grad != 0).any(1).nonzero()
    return iter(cells.split(CELLS)) if len(cells) else iter(())


def _neighbors(
    x: Tensor, row: Tensor, column: Tensor
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """For each position in a 3x3 patch: its number, whether it is on the map, row, column."""
    height, width = x.shape[2:]
    for position, (dy, dx) in enumerate(SHIFTS):
        y, x_ = row + dy, column + dx
        yield position, (y >= 0) & (y < height) & (x_ >= 0) & (x_ < width), y, x_


def _patches(x: Tensor, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """(n, 9 C) values around n cells, zeros outside of the map."""
    pixels = x.permute(0, 2, 3, 1)
    out = x.new_zeros(len(image), 9, x.shape[1])
    for position, inside, y, x_ in _neighbors(x, row, column):
        out[inside, position] = pixels[image[inside], y[inside], x_[inside]]
    return out.flatten(1)


def _add_patches(grad: Tensor, patches: Tensor, image: Tensor, row: Tensor, column: Tensor) -> None:
    """Add (n, 9 C) patches around n different cells to ``grad`` (B, C, H, W)."""
    pixels = grad.permute(0, 2, 3, 1)
    patches = patches.unflatten(1, (9, -1))
    for position, inside, y, x_ in _neighbors(grad, row, column):
        pixels[image[inside], y[inside], x_[inside]] += patches[inside, position]
