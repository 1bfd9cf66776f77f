"""Winograd's convolution equals the direct one in float64, at every height and at the borders."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdet_maskr.deploy import winograd
from mmdet_maskr.deploy.convolution import FusedConv2d


def test_transforms_give_the_correlation():
    result, kernel, data = winograd.transforms()
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(3, generator=generator, dtype=torch.float64)
    d = torch.randn(6, generator=generator, dtype=torch.float64)
    wanted = torch.stack([(d[i : i + 3] * g).sum() for i in range(4)])
    torch.testing.assert_close(result @ ((kernel @ g) * (data @ d)), wanted)


@torch.no_grad()
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("strip", [1, 10**4, 10**9])
def test_equals_the_direct_convolution(height: int, strip: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(winograd, "STRIP_BYTES", strip)
    torch.manual_seed(0)
    x, weight = torch.randn(2, 16, height, 7), torch.randn(24, 16, 3, 3) / 12
    for bias in (None, torch.randn(24)):
        convolve = winograd.WinogradConvolution(weight, bias)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            exact = F.conv2d(
                x.double(), weight.double(), None if bias is None else bias.double(), padding=1
            )
            y = convolve(x.contiguous(memory_format=memory_format), relu=False)
            torch.testing.assert_close(y.double(), exact, rtol=1e-5, atol=1e-5)
            assert y.is_contiguous(memory_format=torch.channels_last)
            y = convolve(x, relu=True)
            torch.testing.assert_close(y.double(), exact.relu(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_rounds_little_more_than_the_direct_convolution():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 64, 32, 32), torch.randn(64, 64, 3, 3) / 24
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    ours = winograd.WinogradConvolution(weight, None)(x, relu=False) - exact
    direct = F.conv2d(x, weight, padding=1) - exact
    assert ours.pow(2).mean().sqrt() < 3 * direct.pow(2).mean().sqrt()


@torch.no_grad()
@pytest.mark.parametrize("options", [dict(), dict(stride=2), dict(dilation=2, padding=2),
                                     dict(groups=2)])  # fmt: skip
def test_fused_convolutions_use_it_where_it_fits(options: dict, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 8)
    monkeypatch.setattr(winograd, "LEAST_PIXELS", 100)
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, **{"padding": 1, **options})
    fused = FusedConv2d(conv, None, relu=False)
    x = torch.randn(1, 16, 12, 12)
    torch.testing.assert_close(fused(x), conv(x), rtol=1e-5, atol=1e-5)
    assert (fused._winograd is not None) == (options == {})
    fused.load_state_dict({name: 2 * value for name, value in fused.state_dict().items()})
    torch.testing.assert_close(fused(x), 2 * conv(x), rtol=1e-5, atol=1e-5)
    small = torch.randn(1, 16, 6, 6)
    torch.testing.assert_close(fused(small), 2 * conv(small), rtol=1e-5, atol=1e-5)
