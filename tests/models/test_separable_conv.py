"""Depthwise-separable convolutions: dense ones of rank one, in FPN, RPN and mask head."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from thin_configs import load
from torch import nn

from mmdet_maskr.deploy.convolution import FusedSeparableConv2d, fused
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import SampledRPNHead, SeparableConv2d

SEPARABLE = dict(type="SeparableConv2d")


def dense_weight(conv: SeparableConv2d) -> torch.Tensor:
    """(D, C, k, k) of the dense convolution that is the same."""
    return conv.pointwise.weight * conv.depthwise.weight.transpose(0, 1)


@pytest.mark.parametrize("options", [dict(padding=1), dict(stride=2), dict(padding=2, dilation=2)])
def test_is_a_dense_convolution(options: dict):
    conv = SeparableConv2d(4, 6, 3, **options).double()
    nn.init.normal_(conv.pointwise.bias)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    expected = F.conv2d(x, dense_weight(conv), conv.pointwise.bias, **options)
    assert torch.allclose(conv(x), expected, atol=1e-12)


def test_in_a_conv_module():
    """3x3 kernels are separable, 1x1 stay dense; normalization takes the bias away."""
    module = ConvModule(4, 6, 3, padding=1, conv_cfg=SEPARABLE, norm_cfg=dict(type="BN"))
    assert isinstance(module.conv, SeparableConv2d) and module.conv.pointwise.bias is None
    assert type(ConvModule(4, 6, 1, conv_cfg=SEPARABLE).conv) is nn.Conv2d
    with pytest.raises(UserError, match="groups=1, not 2"):
        ConvModule(4, 6, 3, groups=2, conv_cfg=SEPARABLE)


def test_initial_deviation():
    """Of noise with deviation 1 it makes maps with deviation sqrt(2), before ReLU."""
    conv = SeparableConv2d(64, 256, 3, padding=1)
    with torch.no_grad():
        y = conv(torch.randn(4, 64, 32, 32))[..., 1:-1, 1:-1]
    assert float(y.std()) == pytest.approx(2**0.5, rel=0.15)


@pytest.mark.parametrize("limit", [None, 6.0])
def test_fast_form(limit: float | None):
    """Normalization and ReLU or ReLU6 in the second convolution."""
    act = "ReLU" if limit is None else "ReLU6"
    module = ConvModule(
        8, 16, 3, padding=1, conv_cfg=SEPARABLE, norm_cfg=dict(type="BN"), act_cfg=dict(type=act)
    ).eval()
    nn.init.normal_(module.bn.running_mean)
    nn.init.constant_(module.bn.weight, 8.0)
    x = torch.randn(2, 8, 10, 12)
    with torch.no_grad():
        expected = module(x)
        found = fused(module.conv, module.bn, relu=True, limit=limit)
        assert isinstance(found, FusedSeparableConv2d)
        assert torch.allclose(found(x), expected, atol=1e-5)
    assert float(expected.max()) == 6.0 if limit else float(expected.max()) > 6.0


def test_light_rpn():
    """A ninth of the 3x3 convolution's operations, with gradients that equal the dense one's."""
    cfg = load("light/maskr_effnet-lite0_fpn_480-3x.py").model
    cfg.rpn_head.update(train_cfg=cfg.train_cfg.rpn, test_cfg=cfg.test_cfg.rpn)
    light: SampledRPNHead = MODELS.build(cfg.rpn_head)
    light.init_weights()
    cfg.rpn_head.pop("conv_cfg")
    dense: SampledRPNHead = MODELS.build(cfg.rpn_head)
    dense.load_state_dict(
        {
            **{k: v for k, v in light.state_dict().items() if "rpn_conv" not in k},
            "rpn_conv.weight": dense_weight(light.rpn_conv),
            "rpn_conv.bias": light.rpn_conv.pointwise.bias,
        }
    )
    x = torch.randn(1, 96, 12, 16, requires_grad=True)
    results = []
    for head in (light.train(), dense.train()):
        logits, deltas = head.forward_single(x)
        (grad,) = torch.autograd.grad(logits.square().sum() + deltas.square().sum(), x)
        results.append((logits, deltas, grad))
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5)
        assert float(expected.detach().abs().max()) > 1e-4
    sizes = [sum(p.numel() for p in head.rpn_conv.parameters()) for head in (light, dense)]
    assert sizes == [96 * 9 + 96 * 97, 96 * 96 * 9 + 96]


def test_one_convolution_alone():
    cfg = load("light/maskr_effnet-lite0_fpn_480-3x.py").model.rpn_head
    with pytest.raises(UserError, match="conv_cfg works only with num_convs=1, not 2"):
        MODELS.build(dict(cfg, num_convs=2))
