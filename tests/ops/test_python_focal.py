"""Focal losses in Python: autograd of their formulas, and attention's gradients."""

from __future__ import annotations

import mmcv.ops.focal_loss as mmcv_focal
import mmcv.ops.multi_scale_deform_attn as mmcv_attention
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmdet_maskr.ops.mmcv_ext import attention, focal


@pytest.fixture(autouse=True)
def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmcv_focal, "ext_module", focal)
    monkeypatch.setattr(mmcv_attention, "ext_module", attention)


def logits_and_targets() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(30, 4, generator=generator, dtype=torch.float64) * 3
    return logits, torch.arange(30) % 5  # 4 is background


@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_focal_loss(weighted: bool):
    logits, target = logits_and_targets()
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64) if weighted else None
    if weighted:
        target = target % 4
    ours, x = (logits.clone().requires_grad_() for _ in range(2))
    loss = mmcv_focal.sigmoid_focal_loss(ours, target, 2.0, 0.25, weight, "sum")
    one_hot = F.one_hot(target, 5)[:, :4].double()
    p = x.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(x, one_hot, reduction="none")
    scale = 0.25 * one_hot + 0.75 * (1 - one_hot)
    expected = scale * torch.where(one_hot > 0, 1 - p, p) ** 2 * entropy
    if weight is not None:
        expected = expected * weight[target][:, None]
    torch.testing.assert_close(loss, expected.sum())
    loss.backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, x.grad)


def test_softmax_focal_loss():
    logits, target = logits_and_targets()
    target = target % 4
    ours, x = (logits.clone().requires_grad_() for _ in range(2))
    loss = mmcv_focal.softmax_focal_loss(ours, target, 2.0, 0.25, None, "sum")
    p = x.softmax(1).gather(1, target[:, None])[:, 0]
    expected = (-0.25 * (1 - p) ** 2 * p.log()).sum()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, x.grad)


def test_attention_on_accelerators_is_mmcvs_formula():
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[4, 5], [2, 3]])
    value = torch.rand(2, 26, 2, 4, generator=generator, dtype=torch.float64).requires_grad_()
    places = torch.rand(2, 7, 2, 2, 3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    share = torch.rand(2, 7, 2, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    inputs = (value, places, share)
    expected = mmcv_attention.multi_scale_deformable_attn_pytorch(value, shapes, places, share)
    out = mmcv_attention.MultiScaleDeformableAttnFunction.apply(
        value, shapes, torch.tensor([0, 20]), places, share, 64
    )
    torch.testing.assert_close(out, expected)
    grad = torch.rand(out.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(out, inputs, grad),
        torch.autograd.grad(expected, inputs, grad),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
