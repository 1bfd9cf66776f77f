"""Deformable convolutions in Python: a direct loop, MMCV's C++, and what an offset means."""

from __future__ import annotations

import math

import mmcv.ops.deform_conv as plain
import mmcv.ops.modulated_deform_conv as modulated
import pytest
import torch
from compiled_ops import compiled
from torch import Tensor
from torch.nn import functional as F

from mmdet_maskr.ops.mmcv_ext import deform, torchvision

CASES = {
    "3x3": dict(stride=1, padding=1, dilation=1, groups=1, deform_groups=1),
    "strided": dict(stride=2, padding=1, dilation=1, groups=1, deform_groups=1),
    "dilated": dict(stride=1, padding=2, dilation=2, groups=1, deform_groups=2),
    "grouped": dict(stride=(2, 1), padding=(0, 1), dilation=1, groups=2, deform_groups=4),
}


@pytest.fixture(autouse=True)
def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision, "has", lambda name, device: False)
    monkeypatch.setattr(plain, "ext_module", deform)
    monkeypatch.setattr(modulated, "ext_module", deform)


def tensors(case: dict, dtype: torch.dtype = torch.float32, spread: float = 1.5) -> list[Tensor]:
    """Input, offset, mask, weight and bias of a convolution that reads outside the map too."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    maps, weight = draw(2, 8, 7, 9), draw(6, 8 // case["groups"], 3, 3)
    options = [case[name] for name in ("stride", "padding", "dilation", "groups")]
    height, width = F.conv2d(maps, weight, None, *options).shape[2:]
    taps = 9 * case["deform_groups"]
    return [
        maps,
        draw(2, 2 * taps, height, width) * spread,
        draw(2, taps, height, width).sigmoid(),
        weight,
        draw(6),
    ]


def run(case: dict, values: list[Tensor], with_mask: bool) -> list[Tensor]:
    """Output and gradients of MMCV's autograd functions."""
    maps, offset, mask, weight, bias = (v.detach().clone().requires_grad_() for v in values)
    if with_mask:
        out = modulated.modulated_deform_conv2d(maps, offset, mask, weight, bias, *case.values())
        used = [maps, offset, mask, weight, bias]
    else:
        out = plain.deform_conv2d(maps, offset, weight, *case.values())
        used = [maps, offset, weight]
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out)
    return [out.detach(), *torch.autograd.grad(out, used, grad)]


def loop(case: dict, values: list[Tensor]) -> Tensor:
    """One output place, one tap and one group of channels after the other."""
    maps, offset, mask, weight, bias = values
    pairs = {k: v if isinstance(v, tuple) else (v, v) for k, v in case.items()}
    batch, _, out_h, out_w = offset.shape
    columns = maps.new_zeros(batch, 8, 9, out_h, out_w)
    per_group = 8 // case["deform_groups"]

    def place(axis: int, output: int, tap: int) -> int:
        begin = output * pairs["stride"][axis] - pairs["padding"][axis]
        return begin + tap * pairs["dilation"][axis]

    def pixel(image: Tensor, y: int, x: int) -> Tensor:
        inside = 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
        return image[:, y, x] if inside else image[:, 0, 0] * 0

    for b in range(batch):
        for g in range(case["deform_groups"]):
            image = maps[b, g * per_group : (g + 1) * per_group]
            for k in range(9):
                for i in range(out_h):
                    for j in range(out_w):
                        dy, dx = offset[b, 2 * (g * 9 + k) : 2 * (g * 9 + k) + 2, i, j].tolist()
                        y = place(0, i, k // 3) + dy
                        x = place(1, j, k % 3) + dx
                        top, left = math.floor(y), math.floor(x)
                        ly, lx = y - top, x - left
                        value = (
                            pixel(image, top, left) * (1 - ly) * (1 - lx)
                            + pixel(image, top, left + 1) * (1 - ly) * lx
                            + pixel(image, top + 1, left) * ly * (1 - lx)
                            + pixel(image, top + 1, left + 1) * ly * lx
                        )
                        columns[b, g * per_group : (g + 1) * per_group, k, i, j] = (
                            value * mask[b, g * 9 + k, i, j]
                        )
    parts = [
        torch.einsum("bckij,dck->bdij", part, own.flatten(2))
        for part, own in zip(
            columns.chunk(case["groups"], 1), weight.chunk(case["groups"]), strict=True
        )
    ]
    return torch.cat(parts, 1) + bias[:, None, None]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_the_loop(case: dict):
    values = tensors(case, torch.float64)
    torch.testing.assert_close(run(case, values, True)[0], loop(case, values))


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_compiled_one(monkeypatch: pytest.MonkeyPatch, case: dict, with_mask: bool):
    values = tensors(case)
    ours = run(case, values, with_mask)
    for module in (plain, modulated):
        monkeypatch.setattr(module, "ext_module", compiled())
    for mine, theirs in zip(ours, run(case, values, with_mask), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients(case: dict):
    values = [v.requires_grad_() for v in tensors(case, torch.float64)]
    torch.autograd.gradcheck(
        lambda maps, offset, mask, weight, bias: modulated.modulated_deform_conv2d(
            maps, offset, mask, weight, bias, *case.values()
        ),
        values,
        fast_mode=True,
    )


def test_without_offsets_it_is_a_convolution():
    case = CASES["strided"]
    maps, offset, _, weight, _ = tensors(case, spread=0)
    out = run(case, [maps, offset, offset[:, :9], weight, weight[:, 0, 0, 0]], False)[0]
    torch.testing.assert_close(out, F.conv2d(maps, weight, None, 2, 1), rtol=1e-5, atol=1e-5)


def test_channels_last_gives_the_same():
    case = CASES["3x3"]
    values = tensors(case)
    expected = run(case, values, True)
    values[0] = values[0].contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(run(case, values, True), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
