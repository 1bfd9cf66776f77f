"""RoIAlign equals mmcv's op, forward and backward, in every layout and type."""

from __future__ import annotations

import io
import time
from unittest import mock

import pytest
import torch
from mmcv import ops as mmcv_ops
from mmcv.ops.roi_align import RoIAlignFunction
from roi_cases import DEVICES, HEIGHT, WIDTH, all_sorts_of_rois, features, relative_error

from mmdet_maskr import mmcv_extension
from mmdet_maskr.ops import RoIAlign, roi_align, roi_align_pyramid

FORMATS = [torch.contiguous_format, torch.channels_last]


def both(maps: torch.Tensor, rois: torch.Tensor, *options):
    """Values and gradients of ours and, on contiguous copies, of mmcv's."""
    results = []
    for layer, x in ((roi_align, maps), (mmcv_ops.roi_align, maps.contiguous())):
        x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        out = layer(x, rois, *options)
        generator = torch.Generator().manual_seed(5)
        grad = torch.randn(out.shape, generator=generator, dtype=out.dtype).to(out.device)
        out.backward(grad)
        results += [out.detach(), x.grad]
    return results


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("scale", [1.0, 0.25, 1 / 3])
@pytest.mark.parametrize("size", [7, 14, (3, 5)])
@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_equals_mmcv(aligned: bool, ratio: int, size, scale: float, memory_format):
    maps = features().contiguous(memory_format=memory_format)
    rois = all_sorts_of_rois(scale)
    ours, our_grad, theirs, their_grad = both(maps, rois, size, scale, ratio, "avg", aligned)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5
    assert relative_error(our_grad, their_grad) <= 1e-5
    for result in (ours, our_grad):
        assert result.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_on_each_device(device: str, mode: str, memory_format):
    """max goes to mmcv's kernel on a CPU too, avg on CUDA only; never in a layout it misreads."""
    maps = features().contiguous(memory_format=memory_format).to(device)
    rois = all_sorts_of_rois(0.25).to(device)
    ours, our_grad, theirs, their_grad = both(maps, rois, 7, 0.25, 0, mode)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert relative_error(our_grad, their_grad) <= 1e-5
    assert ours.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, True), (0, False)])
def test_gradcheck(memory_format, ratio: int, aligned: bool):
    maps = features(3, dtype=torch.float64)[:, :, :9, :11].contiguous(memory_format=memory_format)
    rois = all_sorts_of_rois()[::4]
    torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, (2, 3), 0.5, ratio, "avg", aligned), maps.requires_grad_()
    )


def test_float64_is_exact():
    maps, rois = features(dtype=torch.float64), all_sorts_of_rois(0.25).double()
    ours, our_grad, theirs, their_grad = both(maps, rois, 7, 0.25)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    torch.testing.assert_close(our_grad, their_grad, rtol=0, atol=1e-13)


def sliced(maps: torch.Tensor) -> torch.Tensor:
    wide = torch.full((len(maps), 2 * maps.shape[1], HEIGHT + 2, WIDTH + 3), 9.0)
    view = wide[:, ::2, 1:-1, 2:-1]
    view.copy_(maps)
    return view


def test_strided_input():
    """mmcv, compiled, reads any memory as contiguous: wrong for channels_last maps and slices."""
    maps, rois = features(), all_sorts_of_rois()
    expected = roi_align(maps, rois, 7)
    last = maps.contiguous(memory_format=torch.channels_last)
    if mmcv_extension.is_compiled():
        assert (mmcv_ops.roi_align(last, rois, 7) - expected).abs().max() > 0.1
    wide_rois = torch.cat([rois, rois], dim=1)[:, :5]
    turned = maps.transpose(2, 3).contiguous().transpose(2, 3)
    for view in (last, sliced(maps), turned, maps.expand(2, -1, -1, -1)):
        torch.testing.assert_close(roi_align(view, wide_rois, 7), expected, rtol=0, atol=1e-6)


def test_strided_gradient():
    for memory_format in FORMATS:
        maps = features().contiguous(memory_format=memory_format)
        grads = []
        for grad in (torch.ones(40, 18, 7, 7), torch.ones(()).expand(40, 18, 7, 7)):
            x = maps.clone(memory_format=torch.preserve_format).requires_grad_()
            roi_align(x, all_sorts_of_rois(), 7).backward(grad)
            grads.append(x.grad)
        assert torch.equal(*grads)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("device", DEVICES)
def test_low_precision(device: str, dtype: torch.dtype, memory_format):
    """As in float32, but for the rounding of the result; above all the RoIs are not rounded."""
    maps = features(40, dtype=dtype).contiguous(memory_format=memory_format).to(device)
    rois = all_sorts_of_rois(1 / 32).to(device)
    results = []
    for x in (maps.clone(memory_format=torch.preserve_format), maps.float()):
        x.requires_grad_()
        out = roi_align(x, rois, 7, 1 / 32)
        out.backward(torch.ones_like(out))
        assert out.dtype == x.grad.dtype == x.dtype
        assert out.is_contiguous(memory_format=memory_format)
        results.append((out.float(), x.grad.float()))
    epsilon = torch.finfo(dtype).eps
    for low, exact in zip(*results, strict=True):
        torch.testing.assert_close(low, exact, rtol=epsilon, atol=epsilon)


def test_autocast():
    conv = torch.nn.Conv2d(18, 18, 1)
    maps, rois = features(), all_sorts_of_rois()
    with torch.autocast("cpu", torch.bfloat16):
        x = conv(maps)
        out = roi_align(x, rois, 7)
        loss = conv(out).float().square().mean()
    assert x.dtype == out.dtype == torch.bfloat16
    loss.backward()
    assert torch.isfinite(conv.weight.grad).all() and conv.weight.grad.abs().max() > 0
    torch.testing.assert_close(out.float(), roi_align(x.float(), rois, 7), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_pixels_stay_where_they_have_weight(bad: float, memory_format):
    """mmcv multiplies by weight zero too, and reads pixel 0 for samples outside: NaN spreads."""
    rois = torch.tensor(
        [
            [0, 2, 2, 5, 5],  # samples on pixels 2, 3, 4 have weight zero for the next, 5
            [0, 8, 8, 12, 12],
            [0, -30, -30, -20, -20],  # outside
            [0, -6, 0, 6, 4],  # half outside
            [1, 0, 0, 20, 15],  # another image
        ],
    )
    maps = features().contiguous(memory_format=memory_format)
    expected = roi_align(maps, rois, 3)
    poisoned = maps.clone(memory_format=torch.preserve_format)
    poisoned[0, 3, 0, 0] = poisoned[0, 3, 5, 5] = poisoned[0, 3, 3, 8] = bad
    out = roi_align(poisoned, rois, 3)
    touched = ~torch.isclose(out, expected, equal_nan=False)
    assert not touched[:, :3].any() and not touched[:, 4:].any()
    assert not touched[[0, 1, 2, 4]].any()
    # Of RoI 3, the left column of bins is outside, and the bin next to its top reads pixel 0.
    assert touched[3, 3].tolist() == [[False, True, False], [False] * 3, [False] * 3]


def test_bad_gradients_outside_the_map_go_nowhere():
    for memory_format in FORMATS:
        x = features().contiguous(memory_format=memory_format).requires_grad_()
        out = roi_align(x, torch.tensor([[0.0, -30, -30, -20, -20], [0, 2, 2, 9, 9]]), 3)
        grad = torch.ones_like(out)
        grad[0] = float("nan")
        out.backward(grad)
        assert torch.isfinite(x.grad).all() and torch.isnan(grad[0]).all()


def test_oversized_rois_take_no_more_time():
    """mmcv would take 10^13 samples here, one by one."""
    start = time.perf_counter()
    out = roi_align(features(), torch.tensor([[0, -1e8, -1e8, 1e8, 1e8], [1, -1e30, 0, 1, 1]]), 7)
    assert torch.isfinite(out).all() and time.perf_counter() - start < 5


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_threads_change_nothing(threads: int, dtype: torch.dtype, memory_format):
    maps = features(70, dtype=dtype).contiguous(memory_format=memory_format)
    rois = all_sorts_of_rois()
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            x = maps.clone(memory_format=torch.preserve_format).requires_grad_()
            with mock.patch("mmdet_maskr.ops._sparse_product.BLOCK_BYTES", 4096):
                out = roi_align(x, rois, 7)
                out.sum().backward()
                with torch.inference_mode():
                    assert torch.equal(roi_align(maps.clone(), rois, 7), out)
            results.append((out, x.grad))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    for one, several in zip(*results, strict=True):
        assert torch.equal(one, several)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_without_rois(device: str, mode: str, memory_format):
    maps = features().contiguous(memory_format=memory_format).to(device).requires_grad_()
    out = roi_align(maps, torch.zeros(0, 5, device=device), (2, 3), pool_mode=mode)
    assert out.shape == (0, 18, 2, 3) and out.requires_grad
    out.sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_pyramid(device: str, mode: str, memory_format):
    """Equal to mmcv level by level, in the order of the RoIs; unused levels stay in the graph."""
    scales = [1.0, 0.5, 0.25, 0.125]
    levels = torch.arange(40) % 3  # none on the last
    rois = all_sorts_of_rois()
    maps = [features(seed=i)[:, :, : HEIGHT - 4 * i, : WIDTH - 4 * i] for i in range(4)]
    maps = [m.contiguous(memory_format=memory_format).to(device).requires_grad_() for m in maps]
    out = roi_align_pyramid(maps, rois.to(device), levels.to(device), 5, scales, pool_mode=mode)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(device)
    out.backward(grad)
    for level, (x, scale) in enumerate(zip(maps, scales, strict=True)):
        mine = levels == level
        if not mine.any():
            assert torch.equal(x.grad, torch.zeros_like(x))
            continue
        y = x.detach().contiguous().requires_grad_()
        expected = mmcv_ops.roi_align(y, rois[mine].to(device), 5, scale, 0, mode)
        torch.testing.assert_close(out[mine.to(device)], expected, rtol=0, atol=1e-5)
        expected.backward(grad[mine.to(device)])
        assert relative_error(x.grad, y.grad) <= 1e-5


def test_only_needed_gradients():
    for memory_format in FORMATS:
        maps = [features(seed=i).contiguous(memory_format=memory_format) for i in range(2)]
        maps[1].requires_grad_()
        out = roi_align_pyramid(maps, all_sorts_of_rois(), torch.arange(40) % 2, 5, [1.0, 1.0])
        out.sum().backward()
        assert maps[0].grad is None and maps[1].grad.abs().max() > 0


def test_rois_of_other_types():
    rois = all_sorts_of_rois()[:30].round()  # below 256, which bfloat16 still has
    expected = roi_align(features(), rois, 7)
    for dtype in (torch.float64, torch.int64, torch.bfloat16):
        assert torch.equal(roi_align(features(), rois.to(dtype), 7), expected)


def test_export_goes_through_mmcv():
    """mmcv's function carries the symbol for exporters."""
    maps, rois = features(), all_sorts_of_rois()
    with (
        mock.patch("torch.onnx.is_in_onnx_export", return_value=True),
        mock.patch.object(RoIAlignFunction, "apply") as apply,
    ):
        RoIAlign(7, 0.25, 2)(maps, rois)
    assert apply.call_args.args[2:] == ((7, 7), 0.25, 2, "avg", True)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_onnx_export():
    pytest.importorskip("onnx")
    file = io.BytesIO()
    example = (features(), all_sorts_of_rois())
    torch.onnx.export(RoIAlign(7, 0.25), example, file, dynamo=False, opset_version=16)
    assert b"RoiAlign" in file.getvalue()


def test_result_may_be_changed_in_place():
    """As HTC does, which adds semantic features to the pooled ones; the gradient is the same."""
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 1.0, 6.0, 6.0]])
    pooled = roi_align(x, rois, 2, spatial_scale=1.0)
    (expected,) = torch.autograd.grad(pooled.sum(), x)
    changed = roi_align(x, rois, 2, spatial_scale=1.0)
    changed += 1
    changed.sum().backward()
    assert torch.equal(x.grad, expected)
