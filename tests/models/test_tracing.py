"""Traced parts compute on other input what they compute untraced, from a file too."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_maskr.models import ComposedMaskHead, InterleavedMaskHead
from mmdet_maskr.ops import RoIAlign, RoIPool, RoIWarp, roi_align
from mmdet_maskr.ops.traced_roi_align import traced_roi_align

SOFTMAX = dict(activation="softmax", loss_mask=dict(type="CrossEntropyLoss", use_mask=False))
HEADS = dict(
    fcn=dict(),
    agnostic=dict(class_agnostic=True),
    softmax=SOFTMAX,
    mlp=dict(tower="mlp", fc_out_channels=16),
    mlp_softmax=dict(tower="mlp", fc_out_channels=16, **SOFTMAX),
    res5=dict(tower="res5"),
    bilinear=dict(upsample_cfg=dict(type="bilinear", scale_factor=2)),
    no_upsampling=dict(upsample_cfg=dict(type=None)),
)


def rois(count: int, size: float, seed: int = 0) -> Tensor:
    """(count, 5) of two images, with boxes of up to ``size`` pixels."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 2, (count, 1), generator=generator).float()
    corner = torch.rand(count, 2, generator=generator) * size
    sides = torch.rand(count, 2, generator=generator) * size
    return torch.cat([image, corner, corner + sides], 1)


def check(module: nn.Module, traced_with: tuple, *others: tuple) -> None:
    """The traced form, saved and loaded, gives for other inputs what the module gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = torch.jit.trace(module, traced_with, check_trace=False)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    loaded = torch.jit.load(file)
    for inputs in others:
        expected, found = module(*inputs), loaded(*inputs)
        if isinstance(expected, Tensor):
            expected, found = [expected], [found]
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def features(count: int) -> Tensor:
    return torch.rand(count, 8, 14, 14, generator=torch.Generator().manual_seed(count))


def mask_head(cls: type = ComposedMaskHead, **options) -> nn.Module:
    torch.manual_seed(0)
    head = cls(in_channels=8, conv_out_channels=8, num_classes=5, **options)
    head.init_weights()
    return head


@pytest.mark.parametrize("options", HEADS.values(), ids=HEADS)
def test_mask_heads(options: dict):
    head = mask_head(**options)
    check(head, (features(3),), (features(6),), (features(0),))
    labels = torch.tensor([4, 4, 3, 2, 0, 1])
    check(head, (features(3), labels[:3]), (features(6), labels), (features(0), labels[:0]))


def test_interleaved_mask_head():
    head = mask_head(InterleavedMaskHead)
    check(head, (features(3), features(3)), (features(6), features(6)))


def test_keypoint_head():
    head = MODELS.build(
        dict(type="HeatmapKeypointHead", in_channels=8, num_keypoints=17, num_convs=2,
             conv_out_channels=8)
    )  # fmt: skip
    check(head, (features(3),), (features(6),), (features(0),))


@pytest.mark.parametrize("training", [False, True])
def test_rpn_head(repo: Path, training: bool):
    cfg = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    options = dict(num_classes=1, train_cfg=cfg.train_cfg.rpn, test_cfg=cfg.test_cfg.rpn)
    head = MODELS.build({**cfg.rpn_head, **options}).train(training)

    class OneLevel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.head.forward_single(x)

    check(OneLevel().train(training), (torch.rand(2, 64, 12, 12),), (torch.rand(2, 64, 12, 12),))


@pytest.mark.parametrize(
    ("layer", "options"),
    [(RoIPool, {})]
    + [(layer, dict(pool_mode=mode)) for layer in (RoIAlign, RoIWarp) for mode in ("avg", "max")],
)
def test_roi_layers(layer: type, options: dict):
    """Other RoIs than those of the trace, more, fewer and none."""
    x, y = torch.rand(2, 3, 24, 24), torch.rand(2, 3, 24, 24)
    others = [(y, rois(count, 40, seed=1)) for count in (9, 2, 0)]
    check(layer(7, 0.25, **options), (x, rois(5, 20)), *others)


@pytest.mark.parametrize(
    "layer",
    [dict(type="RoIPool"), dict(type="RoIAlign"), dict(type="RoIAlign", pool_mode="max"),
     dict(type="RoIWarp")],
    ids=str,
)  # fmt: skip
def test_roi_extractor(layer: dict):
    """Levels that had no RoI in the trace have some later, and the other way round."""
    extractor = MODELS.build(
        dict(type="LevelRoIExtractor", roi_layer=dict(layer, output_size=7), out_channels=3,
             featmap_strides=[4, 8, 16, 32])
    )  # fmt: skip

    class Extractor(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, rois: Tensor) -> Tensor:
            return extractor([a, b, c, d], rois)

    maps = [torch.rand(2, 3, s, s) for s in (128, 64, 32, 16)]
    others = [rois(9, 400), torch.cat([rois(2, 30), rois(2, 500)]), rois(0, 1)]
    check(Extractor(), (*maps, rois(5, 60)), *((*maps, boxes) for boxes in others))


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_of_traces(sampling_ratio: int, aligned: bool, mode: str):
    """It is RoIAlign, of a batch, in the features' type, also outside of the map."""
    boxes = torch.cat([rois(20, 60), torch.tensor([[1.0, -20, -9, 300, 200], [0, 5, 5, 5, 5]])])
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.rand(2, 3, 24, 20).to(dtype)
        x = x - 1 if mode == "max" else x  # samples off the map are 0, and larger than others
        found = traced_roi_align(x, boxes, (7, 5), 0.25, sampling_ratio, aligned, mode)
        expected = roi_align(x, boxes, (7, 5), 0.25, sampling_ratio, mode, aligned)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [dict(), dict(class_agnostic=True)])
def test_counters_of_operations_see_the_mask_head(options: dict):
    """Those that trace, and torch's own: the same numbers as for mmdet's head."""
    counts = []
    for cls in (FCNMaskHead, ComposedMaskHead):
        head = mask_head(cls, **options).eval()
        analyzer = FlopAnalyzer(head, features(3))
        analyzer.unsupported_ops_warnings(False)
        counts.append(analyzer.total())
    assert counts[0] == counts[1] > 1e6


def test_counters_of_operations_see_the_whole_detector(repo: Path):
    """As mmdet's tools/analysis_tools/get_flops.py does, against the same with stock parts."""
    cfg = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    meta = dict(img_shape=(96, 96), ori_shape=(96, 96), scale_factor=(1.0, 1.0))
    sample = DetDataSample(metainfo={**meta, "batch_input_shape": (96, 96), "pad_shape": (96, 96)})

    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            *_, of_rois = self.model(images, [sample], mode="tensor")
            return of_rois

    images = torch.rand(1, 3, 96, 96)
    analyzer = FlopAnalyzer(Raw(), images)
    analyzer.unsupported_ops_warnings(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_module = analyzer.by_module()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Raw()(images)
    assert by_module["model.roi_head.mask_head"] > 1e7
    assert by_module["model.rpn_head"] > 1e6
    assert counter.get_total_flops() > by_module["model.backbone"]
