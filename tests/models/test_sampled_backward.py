"""The RPN's backward pass at sampled anchors gives the gradients of torch's layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.models.dense_heads import sampled_backward
from mmdet_maskr.models.dense_heads.sampled_backward import hidden_and_outputs


def inputs(memory_format: torch.memory_format) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 4, 5, 7), (6, 4, 3, 3), (6,), (3, 6, 1, 1), (3,)]
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    tensors[0] = tensors[0].contiguous(memory_format=memory_format)
    return [tensor.requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("cells", [1, 3, 4096])
def test_gradients_are_those_of_the_layers(monkeypatch, memory_format, share: float, cells: int):
    """Few cells at borders and corners among them, all cells, none; in one product or several."""
    monkeypatch.setattr(sampled_backward, "CELLS", cells)
    tensors = inputs(memory_format)
    x, weight, bias, out_weight, out_bias = tensors
    expected = F.conv2d(F.conv2d(x, weight, bias, padding=1).relu(), out_weight, out_bias)
    found = hidden_and_outputs(*tensors)
    torch.testing.assert_close(found, expected)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    grad *= torch.rand(2, 1, 5, 7, generator=generator) < share
    grad[0, :, 0, 0] *= 1 if share else 0
    torch.testing.assert_close(
        torch.autograd.grad(found, tensors, grad), torch.autograd.grad(expected, tensors, grad)
    )


def test_mixed_precision():
    tensors = [tensor.detach().float().requires_grad_() for tensor in inputs(torch.channels_last)]
    exact = hidden_and_outputs(*tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = hidden_and_outputs(*tensors)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.3)
    grad = torch.zeros_like(exact)
    grad[1, :, 2, 3] = 1
    half = torch.autograd.grad(found, tensors, grad.bfloat16())
    for value, expected in zip(half, torch.autograd.grad(exact, tensors, grad), strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected, rtol=0.05, atol=0.3)


def test_only_the_feature_map_is_kept():
    """Gradients of frozen features are not asked for, and none are computed."""
    x, *weights = inputs(torch.contiguous_format)
    found = hidden_and_outputs(x.detach(), *weights)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(found.sum(), weights))
