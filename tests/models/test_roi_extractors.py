"""LevelRoIExtractor gives what mmdet's extractor gives, and other codebases' levels on request."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_maskr.errors import UserError
from mmdet_maskr.models import LevelRoIExtractor
from mmdet_maskr.models.roi_extractors import assign_levels
from mmdet_maskr.ops import RoIAlign, RoIPool, RoIWarp

STRIDES = [4, 8, 16, 32]
CHANNELS = 16
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def options(**roi_layer: object) -> dict:
    layer = dict(type="RoIAlign", output_size=7, sampling_ratio=0)
    return dict(
        roi_layer={**layer, **roi_layer}, out_channels=CHANNELS, featmap_strides=list(STRIDES)
    )


def pyramid(device: str = "cpu", dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, CHANNELS, 384 // s, 448 // s, generator=generator).to(device, dtype)
        for s in STRIDES
    ]


def boxes_of_all_sizes(count: int = 120) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(count, 2, generator=generator) * 300
    scale = torch.exp(torch.rand(count, 1, generator=generator) * 4.5) * 5
    size = scale * (0.5 + torch.rand(count, 2, generator=generator))
    image = torch.randint(2, (count, 1), generator=generator)
    rois = torch.cat([image.float(), corner, corner + size], dim=1)
    for i, exact in enumerate((0, 56, 112, 224, 448, 896)):  # at the thresholds of the levels
        rois[i, 3:] = rois[i, 1:3].round_() + exact
    return rois


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("factor", [None, 1.3])
@pytest.mark.parametrize(
    "layer", [dict(), dict(sampling_ratio=2, aligned=False), dict(output_size=14, pool_mode="max")]
)
def test_equals_mmdet(device: str, memory_format, factor: float | None, layer: dict):
    feats, rois = pyramid(device), boxes_of_all_sizes().to(device)
    ours, theirs = LevelRoIExtractor(**options(**layer)), SingleRoIExtractor(**options(**layer))
    results = []
    for extractor, format_ in ((ours, memory_format), (theirs, torch.contiguous_format)):
        maps = [f.clone(memory_format=format_).requires_grad_() for f in feats]
        out = extractor(maps, rois, factor)
        generator = torch.Generator().manual_seed(2)
        out.backward(torch.randn(out.shape, generator=generator).to(device))
        results.append((out.detach(), *(m.grad for m in maps)))
    for mine, other in zip(*results, strict=True):
        assert (mine - other).abs().max() <= 1e-5 * max(1, float(other.abs().max()))
    assert results[0][0].is_contiguous(memory_format=memory_format)


def test_is_built_by_name_with_our_layers():
    for name, layer in (("RoIAlign", RoIAlign), ("RoIPool", RoIPool), ("RoIWarp", RoIWarp)):
        config = dict(options(), type="LevelRoIExtractor", roi_layer=dict(type=name, output_size=7))
        extractor = MODELS.build(config)
        assert isinstance(extractor, LevelRoIExtractor)
        assert [type(one) for one in extractor.roi_layers] == [layer] * 4
        assert [one.spatial_scale for one in extractor.roi_layers] == [1 / s for s in STRIDES]
        assert extractor(pyramid(), boxes_of_all_sizes()).shape == (120, CHANNELS, 7, 7)


def test_attributes_that_mmdet_reads():
    extractor = LevelRoIExtractor(**options())
    assert extractor.num_inputs == 4
    assert extractor.featmap_strides == STRIDES
    assert extractor.out_channels == CHANNELS
    assert extractor.roi_layers[0].output_size == (7, 7)


def test_checkpoints_of_mmdet_load_unchanged(repo: Path):
    """The same model with either extractor: same names, and the same losses and detections."""
    config = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    models = []
    for name in ("SingleRoIExtractor", "LevelRoIExtractor"):
        config = copy.deepcopy(config)
        for part in ("bbox_roi_extractor", "mask_roi_extractor"):
            config.roi_head[part].type = name
        models.append(MODELS.build(config).eval())
    stock, ours = models
    stock.init_weights()
    ours.load_state_dict(stock.state_dict(), strict=True)
    assert not list(ours.roi_head.bbox_roi_extractor.parameters())
    with torch.no_grad():
        feats = stock.extract_feat(torch.randn(2, 3, 128, 160))
        rois = boxes_of_all_sizes() * torch.tensor([1, 0.3, 0.3, 0.3, 0.3])
        for part in ("bbox_head", "mask_head"):
            extractor = part.replace("head", "roi_extractor")
            results = []
            for model in models:
                pooled = getattr(model.roi_head, extractor)(feats[:4], rois)
                results.append(getattr(model.roi_head, part)(pooled))
            torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def mmdet_levels(rois: torch.Tensor) -> torch.Tensor:
    return SingleRoIExtractor(**options()).map_roi_levels(rois, 4)


def detectron2_levels(rois: torch.Tensor) -> torch.Tensor:
    """detectron2/modeling/poolers.py, assign_boxes_to_levels, with its defaults."""
    area = (rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])
    level = torch.floor(4 + torch.log2(torch.sqrt(area) / 224 + 1e-8))
    return torch.clamp(level, min=2, max=5).to(torch.int64) - 2


def torchvision_levels(rois: torch.Tensor) -> torch.Tensor:
    """torchvision/ops/poolers.py, LevelMapper, with its defaults."""
    scale = torch.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
    level = torch.floor(4 + torch.log2(scale / 224) + torch.tensor(1e-6))
    return torch.clamp(level, min=2, max=5).to(torch.int64) - 2


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        ("mmdet", mmdet_levels),
        ("detectron2", detectron2_levels),
        ("torchvision", torchvision_levels),
    ],
)
def test_level_rules(rule: str, reference):
    """To the last digit, also around the thresholds, where the rules differ."""
    side = torch.tensor([112.0, 224.0, 448.0])[:, None]
    steps = torch.arange(-60, 60) * 2.0**-18
    sides = torch.cat([(side * (1 + steps)).flatten(), torch.rand(5000) * 900, torch.zeros(1)])
    zero = torch.zeros_like(sides)
    rois = torch.stack([zero, zero, zero, sides, sides], dim=1)
    assert torch.equal(assign_levels(rois, 4, rule=rule), reference(rois))


def test_level_rules_differ():
    results = {rule: assign_levels(near(112), 4, rule=rule) for rule in ("mmdet", "detectron2")}
    assert not torch.equal(*results.values())


def near(size: float) -> torch.Tensor:
    rois = torch.zeros(20, 5)
    rois[:, 3:] = size - torch.arange(20)[:, None] * 1e-5
    return rois


def test_canonical_size_and_level():
    rois = boxes_of_all_sizes()
    finer = LevelRoIExtractor(**options(), canonical_size=112)
    reference = SingleRoIExtractor(**options(), finest_scale=28)
    args = (pyramid(), rois)
    torch.testing.assert_close(finer(*args), reference(*args), rtol=0, atol=1e-5)
    same = LevelRoIExtractor(**options(), canonical_size=56, canonical_level=2)
    assert torch.equal(same(*args), LevelRoIExtractor(**options())(*args))


@pytest.mark.parametrize("stride", [16, 32, 12])
@pytest.mark.parametrize("name", ["RoIAlign", "RoIPool", "RoIWarp"])
def test_single_level_bodies(stride: int, name: str):
    """C4 and C5: every RoI from the one map, at any size."""
    config = dict(
        roi_layer=dict(type=name, output_size=7), out_channels=CHANNELS, featmap_strides=[stride]
    )
    feats = [torch.randn(2, CHANNELS, 384 // stride, 448 // stride)]
    rois = boxes_of_all_sizes()
    extractor = LevelRoIExtractor(**config)
    out = extractor(feats, rois)
    assert torch.equal(out, extractor.roi_layers[0](feats[0], rois))
    if name == "RoIAlign":
        expected = SingleRoIExtractor(**config)(feats, rois)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
        # mmdet ignores the factor on a single level; here it always counts.
        assert not torch.allclose(extractor(feats, rois, 2.0), out)


@pytest.mark.parametrize("device", DEVICES)
def test_rois_keep_float32(device: str):
    """In bfloat16, 1333 is 1336: pooled values would be off by far more than the features' type."""
    feats, rois = pyramid(device, torch.bfloat16), boxes_of_all_sizes().to(device)
    rois[:, 1:] += 0.37
    extractor = LevelRoIExtractor(**options())
    out = extractor(feats, rois)
    exact = extractor([f.float() for f in feats], rois)
    assert out.dtype == torch.bfloat16
    assert (out.float() - exact).abs().max() <= 2**-8 * exact.abs().max()
    with torch.autocast(device, torch.bfloat16):
        assert torch.equal(extractor(feats, rois), out)
    rounded = extractor([f.float() for f in feats], rois.bfloat16())
    assert (rounded - exact).abs().mean() > 10 * (out.float() - exact).abs().mean()


@pytest.mark.parametrize("name", ["RoIAlign", "RoIPool", "RoIWarp"])
@pytest.mark.parametrize("strides", [STRIDES, [16]])
def test_without_rois(name: str, strides: list[int]):
    """Every level gets a gradient: distributed training waits for each."""
    extractor = LevelRoIExtractor(dict(type=name, output_size=7), CHANNELS, strides)
    feats = [f.requires_grad_() for f in pyramid()[: len(strides)]]
    out = extractor(feats, torch.zeros(0, 5))
    assert out.shape == (0, CHANNELS, 7, 7)
    out.sum().backward()
    assert all(torch.equal(f.grad, torch.zeros_like(f)) for f in feats)
    for f in feats:
        f.grad = None
    small = torch.tensor([[0.0, 5, 5, 20, 20]])  # on the finest level only
    extractor(feats, small).sum().backward()
    assert all(f.grad is not None for f in feats) and feats[0].grad.abs().max() > 0


@pytest.mark.parametrize("maps", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["RoIAlign", "RoIPool", "RoIWarp"])
def test_memory_format(maps, name: str):
    feats = [f.contiguous(memory_format=maps) for f in pyramid()]
    layer, rois = dict(type=name, output_size=7), boxes_of_all_sizes()
    results = {}
    for option in ("preserve", "contiguous", "channels_last"):
        extractor = LevelRoIExtractor(layer, CHANNELS, STRIDES, memory_format=option)
        results[option] = extractor(feats, rois)
        torch.testing.assert_close(results[option], results["preserve"], rtol=0, atol=1e-6)
    assert results["preserve"].is_contiguous(memory_format=maps)
    assert results["contiguous"].is_contiguous()
    assert results["channels_last"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(roi_layer=dict(type="RoIAlignV2", output_size=7)), r"roi_layer\.type.*'RoIAlignV2'"),
        (dict(roi_layer=dict(output_size=7)), r"roi_layer\.type.*RoIWarp.*not None"),
        (dict(roi_layer=dict(type="RoIPool")), "RoIPool needs output_size"),
        (
            dict(roi_layer=dict(type="RoIPool", output_size=7, sampling_ratio=0)),
            "RoIPool has no option 'sampling_ratio'",
        ),
        (dict(roi_layer=dict(type="RoIAlign", output_size=7, pool_mode="sum")), "not 'sum'"),
        (dict(level_rule="fpn"), "level_rule must be one of .* not 'fpn'"),
        (dict(memory_format="nhwc"), "memory_format must be one of .* not 'nhwc'"),
        (dict(featmap_strides=[]), r"featmap_strides .* not \[\]"),
        (dict(featmap_strides=[32, 16]), r"powers of two.*\[32, 16\]"),
        (dict(featmap_strides=[6, 12]), r"powers of two.*\[6, 12\]"),
        (dict(canonical_size=0), "canonical_size must be positive.* not 0"),
    ],
)
def test_bad_options(changes: dict, message: str):
    with pytest.raises(UserError, match=message):
        LevelRoIExtractor(**{**options(), **changes})


def test_bad_input():
    extractor, rois = LevelRoIExtractor(**options()), boxes_of_all_sizes()
    with pytest.raises(UserError, match=r"needs 4 levels, but got 3"):
        extractor(pyramid()[:3], rois)
    with pytest.raises(UserError, match=r"out_channels=16, but a level is \(2, 8,"):
        extractor([f[:, :8] for f in pyramid()], rois)
    with pytest.raises(UserError, match=r"must be \(N, 5\)"):
        extractor(pyramid(), rois[:, :4])
    for bad in (torch.tensor([[0, 9, 9, 4, 4.0]]), torch.tensor([[0, float("nan"), 0, 4, 4]])):
        with pytest.raises(UserError, match="negative, infinite or NaN size"):
            extractor(pyramid(), torch.cat([rois, bad]))
    rois[3, 0] = 2
    with pytest.raises(UserError, match="RoI 3 has image index 2"):
        extractor(pyramid(), rois)
