"""RoIAlign and RoIPool in Python: direct loops, MMCV's C++, gradients."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from compiled_ops import compiled
from mmcv.ops.roi_align import RoIAlignFunction
from mmcv.ops.roi_pool import RoIPoolFunction
from roi_cases import all_sorts_of_rois, features, relative_error, roi_align_loop
from torch import Tensor

from mmdet_maskr.ops import _plane_align
from mmdet_maskr.ops.mmcv_ext import pool


@pytest.fixture(autouse=True)
def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMCV's functions call the ops in Python in any installation."""
    for function in (RoIAlignFunction, RoIPoolFunction):
        monkeypatch.setattr(sys.modules[function.__module__], "ext_module", pool)


def align(maps: Tensor, rois: Tensor, *options) -> tuple[Tensor, Tensor]:
    """Values and gradients through MMCV's autograd function."""
    x = maps.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = RoIAlignFunction.apply(x, rois, *options)
    out.backward(weights(out))
    assert x.grad is not None
    return out.detach(), x.grad


def weights(like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, True), (0, False), (1, False)])
def test_roi_align_is_the_loop(mode: str, ratio: int, aligned: bool):
    maps, rois = features(4), all_sorts_of_rois(0.5)
    rois = rois[[*range(30), *range(35, 40)]]  # larger ones have thousands of samples
    maps[:, :, 0:18:3] = maps[:, :, 1:19:3]  # equal neighbors: ties
    x = maps.double().requires_grad_()
    expected = roi_align_loop(x, rois.double(), (3, 2), 0.5, mode, ratio, aligned)
    expected.backward(weights(expected))
    out, grad = align(maps, rois, (3, 2), 0.5, ratio, mode, aligned)
    torch.testing.assert_close(out, expected.detach().float(), rtol=0, atol=1e-4)
    if mode == "avg":
        assert relative_error(grad, x.grad.float()) <= 1e-5


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, True), (0, False)])
def test_roi_align_equals_the_compiled_one(
    monkeypatch: pytest.MonkeyPatch, mode: str, ratio: int, aligned: bool, memory_format
):
    maps, rois = features(), all_sorts_of_rois(0.25)
    ours, our_grad = align(
        maps.contiguous(memory_format=memory_format), rois, 7, 0.25, ratio, mode, aligned
    )
    monkeypatch.setattr(sys.modules[RoIAlignFunction.__module__], "ext_module", compiled())
    theirs, their_grad = align(maps, rois, 7, 0.25, ratio, mode, aligned)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert relative_error(our_grad, their_grad) <= 1e-5


@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, True), (0, False)])
@pytest.mark.parametrize("block", [16 * 2**20, 20000])
def test_one_channel_is_like_many(
    monkeypatch: pytest.MonkeyPatch, ratio: int, aligned: bool, block: int
):
    """Masks go another way, an axis at a time."""
    monkeypatch.setattr(_plane_align, "BLOCK_BYTES", block)
    maps, rois = features(2), all_sorts_of_rois(0.5)
    both, _ = align(maps, rois, (5, 3), 0.5, ratio, "avg", aligned)
    for channel in range(2):
        one = maps[:, channel : channel + 1]
        out, _ = align(one, rois, (5, 3), 0.5, ratio, "avg", aligned)
        torch.testing.assert_close(out, both[:, channel : channel + 1], rtol=0, atol=1e-5)


def test_one_channel_reads_what_it_needs_alone():
    """Pixels outside of the RoIs may be NaN."""
    maps = torch.full((1, 1, 20, 20), float("nan"))
    maps[:, :, 4:12, 6:15] = 1
    out, _ = align(maps, torch.tensor([[0.0, 7, 5, 13.5, 10.2]]), 4, 1.0, 0, "avg", True)
    torch.testing.assert_close(out, torch.ones(1, 1, 4, 4))


def test_largest_samples_do_not_depend_on_pieces(monkeypatch: pytest.MonkeyPatch):
    maps, rois = features(), all_sorts_of_rois(0.25)
    expected = align(maps, rois, 7, 0.25, 0, "max", True)
    monkeypatch.setattr(pool, "SAMPLE_BYTES", 20000)
    for ours, theirs in zip(align(maps, rois, 7, 0.25, 0, "max", True), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_gradient_of_the_largest_sample():
    maps = features(3, dtype=torch.float64)[:, :, :9, :11].requires_grad_()
    rois = all_sorts_of_rois()[::4].double()
    torch.autograd.gradcheck(
        lambda x: RoIAlignFunction.apply(x, rois, (2, 3), 0.5, 2, "max", True), maps
    )


def test_matrix_on_a_device():
    """What serves on a GPU without torchvision, on the CPU's tensors."""
    maps, rois = features(6), all_sorts_of_rois(0.25)
    expected, expected_grad = align(maps, rois, 5, 0.25, 0, "avg", True)
    x = maps.clone().requires_grad_()
    sampling = pool._sampling(rois, 0.25, (5, 5), 0, True)
    out = pool.product_on_device(sampling, x)
    out.backward(weights(out))
    torch.testing.assert_close(out.detach(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(x.grad, expected_grad, rtol=0, atol=1e-4)


def test_negative_sizes_are_refused():
    rois = torch.tensor([[0.0, 5, 5, 3, 9]])
    with pytest.raises(ValueError, match="negative size"):
        RoIAlignFunction.apply(features(), rois, 7, 1.0, 0, "avg", True)


def test_no_rois():
    maps = features().requires_grad_()
    out = RoIAlignFunction.apply(maps, torch.empty(0, 5), 7, 1.0, 0, "avg", True)
    out.sum().backward()
    assert out.shape == (0, 18, 7, 7) and maps.grad is not None and not maps.grad.any()
    assert RoIPoolFunction.apply(features(), torch.empty(0, 5), 7).shape == (0, 18, 7, 7)


def roi_pool_kernel(maps: Tensor, rois: Tensor, bins: tuple[int, int], scale: float) -> Tensor:
    """MMCV's CUDA kernel, bin by bin, differentiable."""

    def span(begin: float, step: float, number: int, length: int) -> slice:
        first = math.floor(begin + number * step)
        last = math.ceil(begin + (number + 1) * step)
        return slice(min(max(first, 0), length), min(max(last, 0), length))

    pooled = []
    for roi in rois:
        x1, y1 = roi[1].item() * scale, roi[2].item() * scale
        width = (roi[3].item() + 1) * scale - x1
        height = (roi[4].item() + 1) * scale - y1
        image = maps[int(roi[0])]
        rows, columns = image.shape[1:]
        for p in range(bins[0]):
            for q in range(bins[1]):
                y = span(y1, height / bins[0], p, rows)
                x = span(x1, width / bins[1], q, columns)
                patch = image[:, y, x].flatten(1)
                filled = patch.shape[1] and width > 0 and height > 0
                pooled.append(patch.max(1).values if filled else image[:, 0, 0] * 0)
    return torch.stack(pooled).view(len(rois), *bins, -1).permute(0, 3, 1, 2)


def test_roi_pool_is_mmcvs():
    maps, rois = features(4, dtype=torch.float64), all_sorts_of_rois(0.5).double()
    x, reference = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    out = RoIPoolFunction.apply(x, rois, (3, 2), 0.5)
    expected = roi_pool_kernel(reference, rois, (3, 2), 0.5)
    out.backward(weights(out))
    expected.backward(weights(expected))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(x.grad, reference.grad)
