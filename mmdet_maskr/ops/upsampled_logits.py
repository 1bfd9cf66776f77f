"""Deconvolution, ReLU and 1x1 convolution of a mask head as products over pixels.

Where kernel and stride of a deconvolution are equal, each pixel becomes k x k pixels of its own: a
matrix product. The ReLU and the 1x1 convolution look at single pixels, so that the upsampled
features need no order at all; only the logits are brought into that of an image. RoIs are worked
on a few at a time, while their upsampled features are in the processor's cache; those are computed
again for the gradients instead of being kept, which takes less time than fetching them would.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_BYTES = 4 * 2**20  # of upsampled features at once


def upsampled_logits(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    channels: Tensor | None = None,
) -> Tensor:
    """``conv1x1(relu(deconvolution(x)))``, of all channels or of one channel for each RoI.

    Args:
        x: (N, C, s, s) RoI features, on a CPU.
        weight, bias: (C, W, k, k) and (W,) of the deconvolution with stride k.
        out_weight, out_bias: (K, W, 1, 1) and (K,) of the 1x1 convolution.
        channels: (N,) the channel wanted of each RoI; None for all.

    Returns:
        (N, K, k s, k s), or (N, 1, k s, k s) for given channels. In mixed precision of its type.
    """
    tensors = (x, weight, bias, out_weight, out_bias)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        tensors = tuple(tensor.to(dtype) for tensor in tensors)
    with torch.autocast("cpu", enabled=False):
        return _UpsampledLogits.apply(*tensors, channels)


class _UpsampledLogits(torch.autograd.Function):
    """Symbols: n RoIs of a block, P = s s k k upsampled pixels of a RoI."""

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        channels: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, out_weight, channels)
        rows, kernel, biases = _as_products(x, weight, bias)
        out_kernel = out_weight.flatten(1)
        pixels = rows.shape[1] * weight.shape[2] * weight.shape[3]
        masks = len(out_kernel) if channels is None else 1
        values = x.new_empty(len(x), pixels, masks)
        for block, (buffer,) in _blocks(rows, kernel, buffers=1):
            hidden = _hidden(rows[block], kernel, biases, weight.shape[1], buffer)
            if channels is None:
                values[block] = torch.nn.functional.linear(hidden, out_kernel, out_bias)
            else:
                chosen = channels[block]
                # this product of a row with a matrix is three times as fast as that with a column
                value = torch.bmm(out_kernel[chosen][:, None], hidden.transpose(1, 2))
                values[block] = value.transpose(1, 2) + out_bias[chosen][:, None, None]
        return _to_image(values, x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        # 1. deconvolution and 1 x 1 convolution as products of matrices
        x, weight, bias, out_weight, channels = ctx.saved_tensors
        rows, kernel, biases = _as_products(x, weight, bias)
        out_kernel = out_weight.flatten(1)
        values = _from_image(grad, weight)
        grad_rows = rows.new_empty(rows.shape)
        # sums over blocks are in float32 in mixed precision too
        dtype = torch.promote_types(x.dtype, torch.float32)
        sums = [torch.zeros_like(t, dtype=dtype) for t in (kernel, biases, out_kernel)]
        # 2. block by block: the hidden maps anew, then their gradients and those of the weights
        for block, (buffer, grad_buffer) in _blocks(rows, kernel, buffers=2):
            hidden = _hidden(rows[block], kernel, biases, weight.shape[1], buffer)
            grad_hidden = grad_buffer.view_as(hidden)
            value = values[block]
            if channels is None:
                sums[2] += value.flatten(0, 1).t() @ hidden.flatten(0, 1)
                torch.matmul(value, out_kernel, out=grad_hidden)
            else:
                chosen = channels[block]
                by_roi = torch.bmm(value.transpose(1, 2), hidden)[:, 0]
                sums[2].index_add_(0, chosen, by_roi.to(dtype))
                torch.mul(value, out_kernel[chosen][:, None], out=grad_hidden)
            torch.ops.aten.threshold_backward.grad_input(
                grad_hidden, hidden, 0, grad_input=grad_hidden
            )
            sums[0] += rows[block].flatten(0, 1).t() @ grad_buffer
            sums[1] += grad_buffer.sum(0, dtype=dtype)
            torch.mm(grad_buffer, kernel.t(), out=grad_rows[block].flatten(0, 1))
        # 3. gradients in the shapes of the inputs
        grad_x = grad_rows.transpose(1, 2).unflatten(2, x.shape[2:])
        width, size = weight.shape[1], weight.shape[2:]
        grad_weight = sums[0].view(len(weight), *size, width).permute(0, 3, 1, 2)
        grad_bias = sums[1].view(-1, width).sum(0)
        by_roi = values.sum(1, dtype=dtype)
        if channels is None:
            grad_out_bias = by_roi.sum(0)
        else:
            grad_out_bias = by_roi.new_zeros(len(out_weight)).index_add_(0, channels, by_roi[:, 0])
        grads = (grad_weight, grad_bias, sums[2].view_as(out_weight), grad_out_bias)
        return grad_x, *(g.to(x.dtype) for g in grads), None


def _as_products(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, s s, C), the deconvolution as matrix (C, k k W), its bias (k k W,)."""
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    kernel = weight.permute(0, 2, 3, 1).flatten(1)
    return rows, kernel, bias.repeat(weight.shape[2] * weight.shape[3])


def _blocks(rows: Tensor, kernel: Tensor, buffers: int) -> Iterator[tuple[slice, list[Tensor]]]:
    """Slices of RoIs, and for each slice memory (n s s, k k W) that is used again and again."""
    pixels, width = rows.shape[1], kernel.shape[1]
    step = max(1, BLOCK_BYTES // max(1, pixels * width * rows.element_size()))
    memory = rows.new_empty(buffers, min(step, len(rows)) * pixels, width)
    for begin in range(0, len(rows), step):
        block = slice(begin, min(begin + step, len(rows)))
        yield block, list(memory[:, : (block.stop - begin) * pixels])


def _hidden(rows: Tensor, kernel: Tensor, biases: Tensor, width: int, buffer: Tensor) -> Tensor:
    """(n, P, W) upsampled features after ReLU, in ``buffer``."""
    torch.addmm(biases, rows.flatten(0, 1), kernel, out=buffer).relu_()
    return buffer.view(len(rows), -1, width)


def _to_image(values: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """(N, P, K) -> (N, K, k s, k s)."""
    values = values.view(len(x), *x.shape[2:], *weight.shape[2:], values.shape[2])
    return values.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def _from_image(grad: Tensor, weight: Tensor) -> Tensor:
    """(N, K, k s, k s) -> (N, P, K)."""
    high, wide = weight.shape[2:]
    parts = grad.unflatten(3, (-1, wide)).unflatten(2, (-1, high))
    return parts.permute(0, 2, 4, 3, 5, 1).flatten(1, 4)
