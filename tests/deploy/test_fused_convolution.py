"""A fused convolution computes what its layers compute one after the other, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmdet_maskr.deploy.convolution import FusedConv2d, can_fold, can_fuse
from mmdet_maskr.deploy.fast_forms import FastConvModule, rewrite_parts
from mmdet_maskr.models.layers import UnfusedFrozenBN

SHAPES = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=1, stride=2),
    dict(kernel_size=3, padding=2, dilation=2, groups=4),
    dict(kernel_size=7, stride=2, padding=3, bias=False),
]


def norm_of(kind: type[nn.Module], **kwargs) -> nn.Module:
    norm = kind(16, **kwargs).eval()
    for name, tensor in norm.state_dict().items():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5 if name in ("weight", "running_var") else -1.0, 2.0)
    return norm


NORMS = [
    lambda: norm_of(nn.BatchNorm2d),
    lambda: norm_of(nn.BatchNorm2d, affine=False, eps=0.1),
    lambda: norm_of(nn.SyncBatchNorm),
    lambda: norm_of(UnfusedFrozenBN),
]


def reference(x, conv, norm, added, relu):
    """The layers' arithmetic, written out."""
    y = F.conv2d(
        x.double(),
        conv.weight.double(),
        None if conv.bias is None else conv.bias.double(),
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
    )
    if norm is not None:
        one, zero = torch.ones(16, dtype=torch.float64), torch.zeros(16, dtype=torch.float64)
        weight = one if norm.weight is None else norm.weight.double()
        bias = zero if norm.bias is None else norm.bias.double()
        deviation = (norm.running_var.double() + norm.eps).sqrt()
        y = y - norm.running_mean.double()[:, None, None]
        y = y / deviation[:, None, None] * weight[:, None, None] + bias[:, None, None]
    if added is not None:
        y = y + added.double()
    return y.clamp(min=0) if relu else y


@torch.no_grad()
@pytest.mark.parametrize("options", SHAPES)
@pytest.mark.parametrize("make_norm", [lambda: None, *NORMS])
def test_equals_its_layers(options: dict, make_norm):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(8, 16, **options), make_norm()
    for relu in (False, True):
        fused = FusedConv2d(conv, norm, relu)
        for x in (torch.randn(2, 8, 13, 18), torch.randn(1, 8, 21, 9), torch.zeros(0, 8, 9, 9)):
            x = x.contiguous(memory_format=torch.channels_last)
            plain = reference(x, conv, norm, None, relu)
            torch.testing.assert_close(fused(x).double(), plain, rtol=1e-5, atol=1e-5)
            other = torch.randn_like(plain, dtype=torch.float32)
            wanted = reference(x, conv, norm, other, relu)
            torch.testing.assert_close(fused(x, added=other).double(), wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_relu_can_be_chosen_and_weights_be_replaced():
    torch.manual_seed(0)
    fused = FusedConv2d(nn.Conv2d(4, 4, 3), None, relu=True)
    x = torch.randn(1, 4, 9, 9)
    assert fused(x).min() == 0 and fused(x, relu=False).min() < 0
    twin = copy.deepcopy(fused)
    torch.testing.assert_close(twin(x), fused(x))
    fused.load_state_dict({name: -value for name, value in fused.state_dict().items()})
    torch.testing.assert_close(fused(x, relu=False), -twin(x, relu=False))
    assert fused.double()(x.double()).dtype == torch.float64


def test_what_is_not_folded():
    assert not can_fuse(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"))
    assert not can_fuse(nn.Conv2d(1, 1, 3, padding="same"))
    assert not can_fuse(nn.ConvTranspose2d(1, 1, 3))
    assert not can_fold(nn.BatchNorm2d(1).train())
    assert not can_fold(nn.BatchNorm2d(1, track_running_stats=False).eval())
    assert not can_fold(nn.GroupNorm(1, 1))


@torch.no_grad()
@pytest.mark.parametrize("order", [("conv", "norm", "act"), ("norm", "conv", "act"),
                                   ("conv", "act", "norm"), ("act", "conv", "norm")])  # fmt: skip
def test_a_conv_module_is_folded_in_its_own_order(order: tuple):
    """mmcv's fuse_conv_bn folds each of them alike; only one may be."""
    torch.manual_seed(0)
    module = ConvModule(4, 4, 3, norm_cfg=dict(type="BN"), order=order).eval()
    module.bn.running_mean.normal_()
    module.bn.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 4, 8, 8)
    wanted = module(x.clone())
    rewrite_parts(module)
    assert isinstance(module, FastConvModule) == (order == ("conv", "norm", "act"))
    torch.testing.assert_close(module(x), wanted, rtol=1e-5, atol=1e-5)
