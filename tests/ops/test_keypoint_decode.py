"""Decoded keypoints are those of Detectron2's loop, which enlarges every map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops import decode_heatmaps, keypoint_decode


def enlarge(heatmaps: Tensor, height: int, width: int) -> Tensor:
    size = (height, width)
    return F.interpolate(heatmaps[None], size=size, mode="bicubic", align_corners=False)[0]


def decode_by_loop(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What Detectron2 defines, one map of one RoI at a time."""
    points, peaks, scores = [], [], []
    for heatmaps, (x1, y1, x2, y2) in zip(logits.float(), boxes, strict=True):
        w, h = (x2 - x1).clamp(min=1), (y2 - y1).clamp(min=1)
        for heatmap in heatmaps:
            enlarged = enlarge(heatmap[None], int(h.ceil()), int(w.ceil()))[0]
            iy, ix = divmod(int(enlarged.argmax()), enlarged.shape[1])
            points += [(ix + 0.5) * (w / w.ceil()) + x1, (iy + 0.5) * (h / h.ceil()) + y1]
            peak = enlarged[iy, ix]
            peaks.append(peak)
            scores.append(1 / (heatmap - peak).exp().sum())
    shape = logits.shape[:2]
    return (
        torch.stack(points).view(*shape, 2),
        torch.stack(peaks).view(shape),
        torch.stack(scores).view(shape),
    )


def assert_same(logits: Tensor, boxes: Tensor) -> None:
    points, peaks, scores = decode_heatmaps(logits, boxes)
    expected_points, expected_peaks, expected_scores = decode_by_loop(logits, boxes)
    wrong = (points != expected_points).any(2).sum()
    assert wrong == 0, f"{wrong} of {peaks.numel()} points differ"
    torch.testing.assert_close(peaks, expected_peaks, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-4, atol=1e-7)


def blobs(count: int, keypoints: int, peaks: int = 1, size: int = 56) -> Tensor:
    """Gaussian blobs of several widths, some centered beyond the border."""
    center = (torch.rand(peaks, count, keypoints, 2, 1, 1) * 1.2 - 0.1) * size
    sigma = 1 + 5 * torch.rand(peaks, count, keypoints, 1, 1)
    at = torch.arange(size) + 0.5
    x, y = center.unbind(3)
    distance = (at - x) ** 2 + (at[:, None] - y) ** 2
    height = 10 + 0.1 * torch.rand(peaks, count, keypoints, 1, 1)
    return (height * (-distance / (2 * sigma**2)).exp()).amax(0) - 4


def smooth(count: int, keypoints: int, size: int = 56) -> Tensor:
    return F.interpolate(3 * torch.randn(count, keypoints, 8, 8), size=size, mode="bicubic")


HEATMAPS = dict(
    noise=lambda n, k: torch.randn(n, k, 56, 56),
    smooth=smooth,
    smooth_on_an_offset=lambda n, k: smooth(n, k) + 30,
    blob=blobs,
    blobs_of_similar_height=lambda n, k: blobs(n, k, peaks=4),
    noisy_blobs=lambda n, k: blobs(n, k, peaks=3) + 0.3 * torch.randn(n, k, 56, 56),
    plateau=lambda n, k: blobs(n, k).clamp(max=3),
    almost_flat=lambda n, k: 1e-3 * torch.randn(n, k, 56, 56),
)


def random_boxes(count: int, low: float, high: float) -> Tensor:
    corner = 300 * torch.rand(count, 2) - 50
    return torch.cat([corner, corner + low + (high - low) * torch.rand(count, 2)], 1)


@pytest.mark.parametrize("sides", [(0, 60), (40, 150), (150, 500)])
@pytest.mark.parametrize("kind", HEATMAPS)
def test_equals_the_loop(kind: str, sides: tuple[float, float]):
    torch.manual_seed(len(kind))
    assert_same(HEATMAPS[kind](12, 5), random_boxes(12, *sides))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 28, 64])
def test_maps_of_any_size(size: int):
    torch.manual_seed(size)
    assert_same(torch.randn(8, 3, size, size), random_boxes(8, 1, 300))


def test_boxes_of_unusual_shapes():
    """Thinner than a pixel, as large as the map, a side that is a whole number, thin and long."""
    sides = [
        (0, 0), (0.3, 0.9), (-5, 20), (56, 56), (56, 400), (400, 56), (112, 112), (560, 280),
        (20, 900), (900, 3), (57, 3000), (55, 500), (0.5, 3500),
    ]  # fmt: skip
    sides = torch.tensor(sides, dtype=torch.float32)
    boxes = torch.cat([torch.zeros_like(sides), sides], 1)
    torch.manual_seed(0)
    assert_same(torch.randn(len(boxes), 3, 56, 56), boxes)
    assert_same(blobs(len(boxes), 3), boxes)
    corners = torch.arange(56.0) + torch.arange(56.0)[:, None] + 0.1 * torch.randn(56, 56)
    corners = torch.stack([corners, corners.flip(0), corners.flip(1), -corners])[None]
    for box in boxes:  # alone: what a piece needs depends on all of its boxes
        assert_same(corners, box[None])


def test_huge_boxes():
    torch.manual_seed(0)
    boxes = torch.tensor([[0, 0, 4000, 2999.5], [-7, 3, 2500.2, 4000]])
    assert_same(blobs(2, 2, peaks=2), boxes)


def test_ties_give_the_first_pixel():
    """Constant and mirrored maps: rounding or the order decides, as in the loop."""
    boxes = random_boxes(6, 150, 400)
    for value in (0.0, 1.0, -3.7):
        assert_same(torch.full((6, 2, 56, 56), value), boxes)
    points = decode_heatmaps(torch.zeros(6, 2, 56, 56), boxes)[0]
    assert bool(((points - boxes[:, None, :2]) < 1).all())
    mirrored = blobs(6, 2)
    mirrored = mirrored.maximum(mirrored.flip(3)).maximum(mirrored.flip(2))
    assert_same(mirrored, boxes)
    assert_same(mirrored, torch.tensor([[0.0, 0.0, 560.0, 336.0]]).repeat(6, 1))


def test_many_maps_are_decided_without_enlarging_them(monkeypatch: pytest.MonkeyPatch):
    """Else all of this would be a detour: the loop interpolates 600 x 600 pixels of each map."""
    pixels = []

    def interpolate(maps: Tensor, height: int, width: int) -> Tensor:
        pixels.append(maps.shape[1] * height * width)
        return F.interpolate(maps, size=(height, width), mode="bicubic", align_corners=False)

    monkeypatch.setattr(keypoint_decode, "_interpolate", interpolate)
    torch.manual_seed(0)
    logits, boxes = blobs(12, 17, peaks=2), random_boxes(12, 590, 600)
    decode_heatmaps(logits, boxes)
    assert 0 < sum(pixels) < 0.01 * 12 * 17 * 600**2


def test_bounds_hold_and_are_tight():
    """No pixel of a cell exceeds its bound, which is at most 2% of the map's range above them."""
    torch.manual_seed(0)
    maps = torch.cat([smooth(1, 20)[0], torch.randn(20, 56, 56)])
    factor = 8  # pixels 8 c - 4 to 8 c + 4 lie in cell c
    enlarged = enlarge(maps, 56 * factor, 56 * factor)
    half = factor // 2
    padded = F.pad(enlarged, (half,) * 4, mode="replicate")
    largest = F.max_pool2d(padded, factor)
    bounds = keypoint_decode._cell_bounds(F.pad(maps[None], (2,) * 4, mode="replicate")[0])
    excess = (bounds - largest).flatten(1) / (maps.amax((1, 2)) - maps.amin((1, 2)))[:, None]
    assert excess.min() > -1e-6
    assert excess[:20].mean() < 0.02


def test_bounds_are_the_largest_bezier_control_points():
    """From the cubics' coefficients (A = -3/4), converted to Bernstein's basis, cell by cell."""
    a = -0.75
    powers = torch.tensor(  # of t: rows 1, t, t^2, t^3; columns the samples a, b, c, d
        [[0, 1, 0, 0], [a, 0, -a, 0], [-2 * a, -(a + 3), 2 * a + 3, a], [a, a + 2, -(a + 2), -a]]
    )
    bernstein = torch.tensor([[1, 0, 0, 0], [1, 1 / 3, 0, 0], [1, 2 / 3, 1 / 3, 0], [1, 1, 1, 1]])
    controls = bernstein @ powers
    torch.manual_seed(0)
    padded = F.pad(torch.randn(1, 4, 6, 6), (2,) * 4, mode="replicate")[0]
    windows = padded.unfold(1, 4, 1).unfold(2, 4, 1)
    expected = (controls @ windows @ controls.T).amax((3, 4))
    torch.testing.assert_close(keypoint_decode._cell_bounds(padded), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_computed_in_float32(dtype: torch.dtype):
    torch.manual_seed(0)
    logits, boxes = smooth(8, 3).to(dtype), random_boxes(8, 20, 300)
    assert_same(logits, boxes)
    assert all(t.dtype == torch.float32 for t in decode_heatmaps(logits, boxes))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = decode_heatmaps(logits, boxes)
    for ours, expected in zip(under_autocast, decode_heatmaps(logits, boxes), strict=True):
        assert torch.equal(ours, expected)


def test_independent_of_threads_and_memory_layout():
    torch.manual_seed(0)
    logits, boxes = smooth(30, 17), random_boxes(30, 10, 400)
    expected = decode_heatmaps(logits, boxes)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        threaded = decode_heatmaps(logits, boxes)
    finally:
        torch.set_num_threads(before)
    last = decode_heatmaps(logits.contiguous(memory_format=torch.channels_last), boxes)
    for ours in (threaded, last):
        assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_inputs_that_need_gradients_stay_as_they_are():
    logits = smooth(3, 2).requires_grad_()
    before = logits.detach().clone()
    outputs = decode_heatmaps(logits, random_boxes(3, 20, 300))
    assert not any(t.requires_grad for t in outputs) and torch.equal(logits, before)


def test_no_rois():
    points, peaks, scores = decode_heatmaps(torch.zeros(0, 17, 56, 56), torch.zeros(0, 4))
    assert points.shape == (0, 17, 2) and peaks.shape == scores.shape == (0, 17)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", [30, 300])
def test_bad_logits_spoil_only_their_own_map(bad: float, side: int):
    torch.manual_seed(0)
    logits, boxes = smooth(2, 3), torch.tensor([[0.0, 0.0, side, side]]).repeat(2, 1)
    good = decode_heatmaps(logits, boxes)
    logits[0, 1, 20, 20] = bad
    spoilt = decode_heatmaps(logits, boxes)
    keep = torch.ones(2, 3, dtype=torch.bool)
    keep[0, 1] = False
    for a, b in zip(good, spoilt, strict=True):
        assert torch.equal(a[keep], b[keep])
    assert torch.equal(spoilt[0], decode_by_loop(logits, boxes)[0])
    assert not spoilt[1][0, 1].isfinite()


def test_bad_input_is_named():
    logits, boxes = torch.zeros(2, 3, 8, 8), torch.tensor([[0.0, 0, 5, 5]]).repeat(2, 1)
    with pytest.raises(UserError, match=r"must be \(N, K, S, S\), not \(2, 3, 8, 9\)"):
        decode_heatmaps(torch.zeros(2, 3, 8, 9), boxes)
    with pytest.raises(UserError, match=r"must be \(N, K, S, S\), not \(2, 0, 8, 8\)"):
        decode_heatmaps(logits[:, :0], boxes)
    with pytest.raises(UserError, match=r"floating type, not torch\.int64"):
        decode_heatmaps(logits.long(), boxes)
    with pytest.raises(UserError, match=r"2 RoIs need boxes \(2, 4\), not \(1, 4\)"):
        decode_heatmaps(logits, boxes[:1])
    for bad in (float("nan"), float("inf")):
        boxes[1, 2] = bad
        with pytest.raises(UserError, match=r"box 1 of 2 is \[0.0, 0.0, (nan|inf), 5.0\]"):
            decode_heatmaps(logits, boxes)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", HEATMAPS)
def test_equals_the_loop_on_cuda(kind: str):
    torch.manual_seed(0)
    assert_same(HEATMAPS[kind](12, 5).cuda(), random_boxes(12, 10, 500).cuda())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_streams_are_the_callers(monkeypatch: pytest.MonkeyPatch):
    """Every kernel is launched by the calling thread, as a stream is chosen for a thread."""
    monkeypatch.setattr(keypoint_decode, "PIECE_MAPS_GPU", 5)
    streams = set()
    search = keypoint_decode._largest_pixels

    def noted(*args):
        streams.add(torch.cuda.current_stream())
        return search(*args)

    monkeypatch.setattr(keypoint_decode, "_largest_pixels", noted)
    torch.manual_seed(0)
    logits, boxes = smooth(12, 5).cuda(), random_boxes(12, 10, 500).cuda()
    torch.cuda.synchronize()
    own = torch.cuda.Stream()
    with torch.cuda.stream(own):
        decode_heatmaps(logits, boxes)
    assert streams == {own}
