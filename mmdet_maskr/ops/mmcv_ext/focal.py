"""Focal losses (Lin et al. 2017), element by element, and their gradients.

Formulas of MMCV's kernels (mmcv/ops/csrc/common/cuda/*_focal_loss_cuda_kernel.cuh). Symbols: N
rows, C classes; a target of C is background.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(min=torch.finfo(torch.float32).tiny).log()


def _is_class(target: Tensor, classes: int) -> Tensor:
    """(N, C) bool, whether class c is the target; no class is for background."""
    return target[:, None] == torch.arange(classes, device=target.device)


def _scale(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Times the weight of each row's target (C,), of background the last class's weight."""
    if weight.numel() == 0:
        return values
    own = weight[target.clamp(max=len(weight) - 1)]
    return values * (own[:, None] if values.dim() == 2 else own)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of (N, C) logits for (N,) targets into ``output``, (N, C)."""
    p = input.sigmoid()
    positive = -alpha * (1 - p) ** gamma * _log(p)
    negative = -(1 - alpha) * p**gamma * _log(1 - p)
    loss = torch.where(_is_class(target, input.shape[1]), positive, negative)
    output.copy_(_scale(loss, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of each loss by its logit into ``grad_input``, (N, C)."""
    p = input.sigmoid()
    positive = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * _log(p))
    negative = -(1 - alpha) * p**gamma * (gamma * (1 - p) * _log(1 - p) - p)
    grad = torch.where(_is_class(target, input.shape[1]), positive, negative)
    grad_input.copy_(_scale(grad, target, weight))


def softmax_focal_loss_forward(
    input_softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the loss of (N, C) probabilities for (N,) targets into ``output``, (N,)."""
    p = _of_target(input_softmax, target)
    loss = -alpha * (1 - p) ** gamma * _log(p)
    output.copy_(_scale(loss.masked_fill(target < 0, 0), target.clamp(min=0), weight))


def softmax_focal_loss_backward(
    input_softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the gradient by the logits into ``grad_input``, (N, C), and its factor into ``buff``.

    Args:
        buff: (N,), what a row's gradient is multiplied with.
    """
    p = _of_target(input_softmax, target)
    factor = alpha * (gamma * (1 - p) ** (gamma - 1) * p * _log(p) - (1 - p) ** gamma)
    buff.copy_(_scale(factor.masked_fill(target < 0, 0), target.clamp(min=0), weight))
    one_hot = F.one_hot(target.clamp(min=0), input_softmax.shape[1])
    grad_input.copy_(buff[:, None] * (one_hot - input_softmax))


def _of_target(probabilities: Tensor, target: Tensor) -> Tensor:
    return probabilities.gather(1, target.clamp(min=0)[:, None])[:, 0]
