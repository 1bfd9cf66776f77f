"""torchvision's kernels serve where they are, with the same results as the ops in Python."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest
import torch
from roi_cases import all_sorts_of_rois, features
from test_python_suppress import crowd

from mmdet_maskr import mmcv_extension
from mmdet_maskr.ops.mmcv_ext import deform, pool, suppress, torchvision


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """What was found out about torchvision is forgotten, before and after."""
    for function in (torchvision.ops, torchvision.has):
        function.cache_clear()
    yield
    for function in (torchvision.ops, torchvision.has):
        function.cache_clear()


@pytest.fixture
def kernels() -> types.ModuleType:
    module = torchvision.ops()
    if module is None:
        pytest.skip("needs a torchvision that fits this torch")
    return module


def without(monkeypatch: pytest.MonkeyPatch, work):
    with monkeypatch.context() as patch:
        patch.setattr(torchvision, "has", lambda name, device: False)
        return work()


def test_nms(kernels, monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(
        torchvision, "op", lambda name: calls.append(name) or getattr(kernels, name)
    )
    boxes, scores = crowd(300)
    scores = torch.rand(300)  # without ties, whose order is each one's own
    found = suppress.nms(boxes, scores, 0.5, 0)
    assert calls == ["nms"]
    expected = without(monkeypatch, lambda: suppress.nms(boxes, scores, 0.5, 0))
    assert torch.equal(found, expected)
    suppress.nms(boxes, scores, 0.5, 1)  # with the last pixel included: it has no such option
    assert calls == ["nms"]


def test_deformable_convolution(kernels, monkeypatch: pytest.MonkeyPatch):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    options = deform.Options((2, 1), (1, 1), (1, 2), 2, 2)
    maps, weight, bias = draw(2, 8, 9, 11), draw(6, 4, 3, 3), draw(6)
    offset, mask = draw(2, 36, 5, 9), draw(2, 18, 5, 9)
    inputs = (maps, weight, offset, mask, bias)
    found = deform.deform_convolution(*inputs, options)
    expected = without(monkeypatch, lambda: deform.deform_convolution(*inputs, options))
    torch.testing.assert_close(found, expected)
    grads = deform._gradients(inputs, options, torch.ones_like(found))
    others = without(
        monkeypatch, lambda: deform._gradients(inputs, options, torch.ones_like(found))
    )
    for ours, theirs in zip(grads, others, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_roi_align(kernels):
    """What serves on other devices than CPUs, on the CPU's tensors."""
    maps, rois = features(5), all_sorts_of_rois(0.5)
    found = pool._averages_elsewhere(maps, rois, 0.5, (3, 4), 0, True)
    sampling = pool._sampling(rois, 0.5, (3, 4), 0, True)
    torch.testing.assert_close(found, pool.product_on_device(sampling, maps), rtol=0, atol=1e-5)


def test_it_is_named(kernels):
    if not mmcv_extension.is_compiled():
        assert mmcv_extension.serving().startswith("torchvision ")


@pytest.mark.parametrize("error", [ImportError, RuntimeError, OSError])
def test_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch, error: type[Exception]):
    """Its import, or its first call, fails: 'operator torchvision::nms does not exist'."""

    def broken(*args: object) -> None:
        raise error("operator torchvision::nms does not exist")

    fake = types.ModuleType("torchvision.ops")
    fake.nms = broken
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.ops", fake)
    assert torchvision.ops() is None and not torchvision.has("nms", "cpu")
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8]])
    assert suppress.nms(boxes, torch.tensor([0.5, 0.9]), 0.5, 0).tolist() == [1]


def test_devices_without_a_kernel(monkeypatch: pytest.MonkeyPatch):
    def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
        if boxes.device.type != "cpu":
            raise NotImplementedError("Could not run 'torchvision::nms' on 'Meta'")
        return torch.zeros(1, dtype=torch.int64)

    monkeypatch.setattr(torchvision, "ops", lambda: types.SimpleNamespace(nms=nms))
    assert torchvision.has("nms", "cpu") and not torchvision.has("nms", "meta")
