"""A mask head's last layers as products give what torch's layers give, and their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmdet_maskr.ops import upsampled_logits as module
from mmdet_maskr.ops.upsampled_logits import upsampled_logits


@pytest.mark.parametrize("block_bytes", [1, 2000, 2**22])
@pytest.mark.parametrize("selected", [False, True])
@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_the_layers(monkeypatch, memory_format, scale: int, selected: bool, block_bytes):
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    generator = torch.Generator().manual_seed(0)
    options = dict(generator=generator, dtype=torch.float64)
    x = torch.randn(7, 6, 3, 4, **options).contiguous(memory_format=memory_format)
    inputs = [
        x,
        torch.randn(6, 8, scale, scale, **options),
        torch.randn(8, **options),
        torch.randn(5, 8, 1, 1, **options),
        torch.randn(5, **options),
    ]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    channels = torch.randint(5, (7,), generator=generator) if selected else None
    hidden = F.conv_transpose2d(*inputs[:3], stride=scale).relu()
    expected = F.conv2d(hidden, *inputs[3:])
    if selected:
        expected = expected[torch.arange(7), channels][:, None]
    found = upsampled_logits(*inputs, channels)
    torch.testing.assert_close(found, expected)
    grad = torch.randn(expected.shape, **options)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, grad), torch.autograd.grad(expected, inputs, grad)
    )


def test_mixed_precision_has_its_type_and_gradients_the_weights():
    x = torch.rand(3, 6, 4, 4, requires_grad=True)
    weights = [torch.rand(6, 8, 2, 2), torch.rand(8), torch.rand(5, 8, 1, 1), torch.rand(5)]
    weights = [weight.requires_grad_() for weight in weights]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = upsampled_logits(x, *weights, torch.tensor([0, 4, 0]))
    assert found.dtype == torch.bfloat16
    exact = upsampled_logits(x, *weights, torch.tensor([0, 4, 0]))
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0)
    grads = torch.autograd.grad(found.sum(), [x, *weights])
    for grad, expected in zip(grads, torch.autograd.grad(exact.sum(), [x, *weights]), strict=True):
        assert grad.dtype == torch.float32
        torch.testing.assert_close(grad, expected, rtol=0.03, atol=0.03)
