"""RoIPool and RoIWarp equal direct loops on every device; what they differ in from RoIAlign."""

from __future__ import annotations

import pytest
import torch
from mmcv import ops as mmcv_ops
from roi_cases import DEVICES, all_sorts_of_rois, features, roi_pool_loop, roi_warp_loop

from mmdet_maskr.ops import (
    RoIAlign,
    RoIPool,
    RoIWarp,
    roi_align,
    roi_pool,
    roi_pool_pyramid,
    roi_warp,
    roi_warp_pyramid,
)
from mmdet_maskr.ops._quantize import quantize_boxes

FORMATS = [torch.contiguous_format, torch.channels_last]


def compare(layer, loop, maps: torch.Tensor, rois: torch.Tensor, device: str, atol: float) -> None:
    """Values and gradients of the layer on a device against the loop on a CPU."""
    x = maps.to(device).clone(memory_format=torch.preserve_format).requires_grad_()
    y = maps.clone().requires_grad_()
    ours, expected = layer(x, rois.to(device)), loop(y, rois)
    torch.testing.assert_close(ours.cpu(), expected, rtol=0, atol=atol)
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    grad = grad.to(expected.dtype)
    ours.backward(grad.to(device))
    expected.backward(grad)
    torch.testing.assert_close(x.grad.cpu(), y.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("size", "scale"), [((7, 7), 1.0), ((3, 5), 0.25), ((2, 2), 1 / 3)])
def test_roi_pool_equals_the_loop(device: str, memory_format, size, scale: float):
    maps = features(4).contiguous(memory_format=memory_format)
    rois = all_sorts_of_rois(scale)[:34]
    compare(
        lambda x, r: roi_pool(x, r, size, scale),
        lambda x, r: roi_pool_loop(x, r, size, scale),
        maps,
        rois,
        device,
        atol=0,
    )
    out = roi_pool(maps.to(device), rois.to(device), size, scale)
    assert out.is_contiguous(memory_format=memory_format)
    assert (out[15:18] == 0).all()  # outside the map


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize(("size", "scale", "ratio"), [((3, 3), 0.25, 0), ((2, 3), 1 / 3, 2)])
def test_roi_warp_equals_the_loop(device: str, mode: str, size, scale: float, ratio: int):
    maps = features(4)
    rois = all_sorts_of_rois(scale)[:34]  # the last is too large for a loop
    compare(
        lambda x, r: roi_warp(x, r, size, scale, mode, ratio),
        lambda x, r: roi_warp_loop(x, r, size, scale, mode, ratio),
        maps,
        rois,
        device,
        atol=1e-5,
    )


def test_rounding_is_half_away_from_zero():
    below_half = 0.49999997  # + 0.5 is 1 in float32
    rois = torch.tensor([[0, 0.5, 1.5, 2.5, below_half], [0, -0.5, -1.5, -0.4, 3.4]])
    assert quantize_boxes(rois, 1.0).tolist() == [[1, 2, 4, 1], [-1, -2, 1, 4]]


def test_bins_are_exact_integers():
    """ceil((p + 1) * (n / P)) in float32 can be a pixel too far; integers cannot."""
    maps = torch.arange(60.0).view(1, 1, 1, 60)
    for extent in range(1, 60):
        for bins in (3, 7, 14):
            out = roi_pool(maps, torch.tensor([[0.0, 0, 0, extent - 1, 0]]), (1, bins))
            ends = [-(-(p + 1) * extent // bins) for p in range(bins)]
            assert out.flatten().tolist() == [end - 1 for end in ends]


def test_gradcheck():
    maps = features(2, dtype=torch.float64)[:, :, :8, :9].contiguous().requires_grad_()
    rois = all_sorts_of_rois()[::5]
    torch.autograd.gradcheck(lambda x: roi_pool(x, rois, 3, 0.5), maps)
    torch.autograd.gradcheck(lambda x: roi_warp(x, rois, 3, 0.5), maps)


def test_first_of_equal_maxima_gets_the_gradient():
    maps = torch.ones(1, 1, 4, 4, requires_grad=True)
    roi_pool(maps, torch.tensor([[0.0, 0, 0, 3, 3]]), 2).sum().backward()
    assert maps.grad[0, 0, ::2, ::2].eq(1).all() and maps.grad.sum() == 4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(device: str, dtype: torch.dtype):
    """Values and gradients, which are sums over RoIs, are rounded once."""
    maps, rois = features(dtype=dtype).to(device), all_sorts_of_rois(1 / 32).to(device)
    for layer in (RoIPool(7, 1 / 32), RoIWarp(7, 1 / 32), RoIWarp(7, 1 / 32, "max")):
        x = maps.clone().requires_grad_()
        out = layer(x, rois)
        out.sum().backward()
        assert out.dtype == x.grad.dtype == dtype
        y = maps.float().requires_grad_()
        exact, epsilon = layer(y, rois), torch.finfo(dtype).eps
        exact.sum().backward()
        torch.testing.assert_close(out.float(), exact, rtol=epsilon, atol=epsilon)
        torch.testing.assert_close(x.grad.float(), y.grad, rtol=epsilon, atol=epsilon)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layer", [RoIPool(3), RoIWarp(3), RoIWarp(3, pool_mode="max")])
def test_without_rois(device: str, layer):
    maps = features().to(device).requires_grad_()
    out = layer(maps, torch.zeros(0, 5, device=device))
    assert out.shape == (0, 18, 3, 3)
    out.sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


@pytest.mark.parametrize("layer", ["pool", "warp"])
def test_pyramids(layer: str):
    single, pyramid = dict(pool=(roi_pool, roi_pool_pyramid), warp=(roi_warp, roi_warp_pyramid))[
        layer
    ]
    maps = [features(seed=0), features(seed=1)[:, :, :10, :13]]
    rois, levels = all_sorts_of_rois(), torch.arange(40) % 2
    out = pyramid(maps, rois, levels, 5, [1.0, 0.5])
    for level, scale in enumerate([1.0, 0.5]):
        mine = levels == level
        torch.testing.assert_close(out[mine], single(maps[level], rois[mine], 5, scale))


def test_the_misalignment_that_the_paper_removes():
    """Moving a RoI by less than half a pixel of the map moves RoIAlign only."""
    maps = features()
    roi = torch.tensor([[0.0, 32, 32, 96, 96]])
    moved = roi + torch.tensor([[0.0, 3, 3, 3, 3]])  # 3 of 8 pixels
    for layer in (RoIPool(7, 1 / 8), RoIWarp(7, 1 / 8)):
        assert torch.equal(layer(maps, roi), layer(maps, moved))
    assert (RoIAlign(7, 1 / 8)(maps, roi) - RoIAlign(7, 1 / 8)(maps, moved)).abs().max() > 0.1


def test_roi_warp_is_roi_align_on_whole_pixels():
    rois = torch.tensor([[1.0, 2, 3, 9, 11]])
    grown = torch.tensor([[1.0, 2, 3, 10, 12]])
    assert torch.equal(roi_warp(features(), rois, 4), roi_align(features(), grown, 4))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_mmcv_roi_pool_does_not_round_the_boundary():
    maps, rois = features().cuda(), all_sorts_of_rois(0.25)[:10].cuda()
    theirs = mmcv_ops.roi_pool(maps, rois, 7, 0.25)
    assert (theirs - roi_pool(maps, rois, 7, 0.25)).abs().max() > 0.1
