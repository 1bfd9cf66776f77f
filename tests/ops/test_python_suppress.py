"""NMS, Soft-NMS and NMS by groups in Python keep what MMCV's C++ keeps, in its order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiled_ops import compiled
from torch import Tensor

from mmdet_maskr.ops import _suppression
from mmdet_maskr.ops.mmcv_ext import suppress, torchvision


@pytest.fixture(autouse=True)
def without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision, "has", lambda name, device: False)


def crowd(count: int, seed: int = 0, size: float = 200) -> tuple[Tensor, Tensor]:
    """Boxes that overlap, some without area, some twice; some equal scores."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * size
    sides = torch.rand(count, 2, generator=generator) * 80
    sides[::17] = 0
    boxes = torch.cat([corners, corners + sides], 1)
    boxes[1::11] = boxes[::11][: len(boxes[1::11])]
    scores = (torch.rand(count, generator=generator) * 300).round() / 300
    return boxes, scores


def overlap(a: np.ndarray, b: np.ndarray, offset: int) -> np.float32:
    """Of two boxes in float32, with MMCV's order of operations."""
    zero, offset = np.float32(0), np.float32(offset)

    def area(box: np.ndarray) -> np.float32:
        return (box[2] - box[0] + offset) * (box[3] - box[1] + offset)

    width = max(zero, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(zero, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    with np.errstate(all="ignore"):
        return width * height / (area(a) + area(b) - width * height)


def greedy(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    """One box after the other, as in MMCV's C++."""
    order = scores.sort(descending=True).indices.tolist()
    kept: list[int] = []
    values = boxes.numpy()
    for j in order:
        if not any(overlap(values[i], values[j], offset) > np.float32(threshold) for i in kept):
            kept.append(j)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(("count", "offset"), [(1, 0), (130, 0), (130, 1), (400, 0)])
def test_nms_keeps_what_a_loop_keeps(count: int, offset: int, threshold: float):
    boxes, scores = crowd(count)
    kept = suppress.nms(boxes, scores, threshold, offset)
    assert kept.tolist() == greedy(boxes, scores, threshold, offset)
    assert kept.dtype == torch.int64


@pytest.mark.parametrize("seed", range(20))
def test_nms_equals_the_compiled_one(seed: int):
    boxes, scores = crowd(50 * seed + 1, seed, size=30 * seed + 10)
    for threshold, offset in [(0.5, 0), (0.7, 1)]:
        expected = compiled().nms(boxes, scores, threshold, offset)
        assert torch.equal(suppress.nms(boxes, scores, threshold, offset), expected)


@pytest.mark.parametrize("matrix", [4096, 64], ids=["at once", "block by block"])
@pytest.mark.parametrize("offset", [0, 1])
def test_other_devices_keep_the_same(monkeypatch: pytest.MonkeyPatch, matrix: int, offset: int):
    monkeypatch.setattr(_suppression, "MATRIX", matrix)
    boxes, scores = crowd(400, size=120)
    boxes = boxes[scores.sort(descending=True).indices]
    for threshold in (0.0, 0.3, 0.7):
        dropped = _suppression.suppressed_rows(boxes.numpy(), threshold, offset)
        kept = _suppression.kept_on_device(boxes, threshold, offset)
        assert kept.tolist() == (~dropped).tolist()
        assert 0 < kept.sum() < 400


def test_chain_of_overlaps():
    """Each box overlaps its neighbors alone: as many passes as boxes, and every other is kept."""
    steps = torch.arange(300.0)[:, None] * torch.tensor([4.0, 0, 4, 0])
    boxes = steps + torch.tensor([0.0, 0, 10, 5])
    kept = suppress.nms(boxes, torch.arange(300, 0, -1.0), 0.3, 0)
    assert kept.tolist() == list(range(0, 300, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_nms_takes_other_types(dtype: torch.dtype):
    """The compiled one refuses them on a CPU."""
    boxes, scores = crowd(60)
    kept = suppress.nms(boxes.to(dtype), scores.to(dtype), 0.5, 0)
    exact = boxes.to(dtype).float()
    assert kept.tolist() == greedy(exact, scores.to(dtype), 0.5, 0)


def test_no_boxes():
    assert suppress.nms(torch.empty(0, 4), torch.empty(0), 0.5, 0).shape == (0,)
    none = torch.empty(0, 5)
    assert suppress.softnms(none[:, :4], none[:, 4], none, 0.3, 0.5, 0.1, 1, 0).shape == (0,)


def soft_loop(boxes, scores, threshold, sigma, min_score, method) -> list[tuple[int, float]]:
    """Take the best box, weaken the others, drop the weak ones."""
    left = {i: float(score) for i, score in enumerate(scores.tolist())}
    values = boxes.numpy()
    taken = []
    while left:
        best = max(left, key=lambda i: left[i])
        taken.append((best, left.pop(best)))
        for i in list(left):
            shared = float(overlap(values[best], values[i], 0))
            weight = {
                0: 0.0 if shared >= threshold else 1.0,
                1: 1 - shared if shared >= threshold else 1.0,
                2: float(np.exp(-(shared**2) / sigma)),
            }[method]
            left[i] *= weight
            if left[i] < min_score:
                del left[i]
    return taken


@pytest.mark.parametrize("method", [suppress.NAIVE, suppress.LINEAR, suppress.GAUSSIAN])
def test_softnms_does_what_a_loop_does(method: int):
    generator = torch.Generator().manual_seed(3)
    boxes, _ = crowd(80, size=100)
    boxes[:, 2:] += 1  # an overlap of two boxes without area is no number
    scores = torch.rand(80, generator=generator)
    dets = torch.zeros(80, 5)
    kept = suppress.softnms(boxes, scores, dets, 0.3, 0.5, 0.05, method, 0)
    expected = soft_loop(boxes, scores, 0.3, 0.5, 0.05, method)
    assert kept.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[: len(kept), 4], torch.tensor([s for _, s in expected]))
    torch.testing.assert_close(dets[: len(kept), :4], boxes[kept])
    assert 10 < len(kept) < 80


@pytest.mark.parametrize("method", [0, 1, 2])
@pytest.mark.parametrize("offset", [0, 1])
def test_softnms_equals_the_compiled_one(method: int, offset: int):
    for seed in range(5):
        boxes, scores = crowd(150, seed)
        results = []
        for op in (suppress.softnms, compiled().softnms):
            dets = torch.zeros(150, 5)
            inds = op(boxes, scores, dets, 0.3, 0.5, 0.05, method, offset)
            results.append((inds, dets[: len(inds)]))
        (ours, our_dets), (theirs, their_dets) = results
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(our_dets, their_dets, rtol=0, atol=1e-6, equal_nan=True)


def test_nms_match_groups():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [0, 1, 10, 10]])
    dets = torch.cat([boxes, torch.tensor([[0.5], [0.9], [0.4], [0.3]])], 1)
    assert suppress.nms_match(dets, 0.5) == [[1, 0, 3], [2]]


def test_nms_match_equals_the_compiled_one():
    for seed in range(5):
        boxes, scores = crowd(200, seed)
        dets = torch.cat([boxes, scores[:, None]], 1)
        assert suppress.nms_match(dets, 0.5) == compiled().nms_match(dets, 0.5)
