"""All configs train a step and predict on a GPU, which is there in pretence.

Thin models: every part of a config, an eighth as wide, once for all schedules of a model. An
operator that gets tensors of two devices raises; sums in half precision are counted.
"""

from __future__ import annotations

import ast
import functools
import math
from pathlib import Path

import pytest
import thin_configs
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict

from mmdet_maskr.benchmark.launches import (
    count_prediction,
    count_training_step,
    photo_for,
    training_batch,
)
from mmdet_maskr.benchmark.random_model import build

SIZE = (96, 128)
# One of each kind of parts; the others take a second each, all together too long for every run.
EVERY_RUN = (
    "maskr_r50_fpn_1x.py",
    "maskr_r50_c4_1x.py",
    "maskr_joint_r50_fpn_1x.py",
)
CONFIGS = [
    pytest.param(name, marks=() if name in EVERY_RUN else pytest.mark.slow)
    for name in thin_configs.CONFIGS
    if name != "compositions/rpn_r50_fpn_1x.py"  # without RoI head; its head is that of all others
]


def thin_model(name: str, folder: Path) -> str:
    """The settings of a config's model, an eighth as wide; equal for schedules of one model."""
    cfg = thin_configs.load(name)
    if cfg.model.backbone.type == "TimmBackbone":
        pytest.importorskip("timm", reason="timm is optional", exc_type=ImportError)
    cfg = thin_configs.thin(cfg, folder).model
    for part in thin_configs.walk(cfg):
        if part.get("type") in ("SyncBN", "NaiveSyncBN"):
            part["type"] = "BN"  # it refuses CPU tensors, which ours are
    return repr(cfg.to_dict())


def build_from(settings: str) -> torch.nn.Module:
    return build(ConfigDict(ast.literal_eval(settings)))


def types_of_losses(model: torch.nn.Module) -> set[torch.dtype]:
    """Types of the losses that a model will give; the set fills as it does."""
    kinds: set[torch.dtype] = set()
    parse = model.parse_losses

    def watched(losses: dict):
        for value in losses.values():
            kinds.update(v.dtype for v in (value if isinstance(value, list) else [value]))
        return parse(losses)

    model.parse_losses = watched
    return kinds


def check_found(sample: DetDataSample) -> None:
    """Instances with scores in float32, or a panoptic map."""
    if "pred_panoptic_seg" in sample:
        assert sample.pred_panoptic_seg.sem_seg.shape[1:] == SIZE
    else:
        assert len(sample.pred_instances) > 0
        assert sample.pred_instances.scores.dtype == torch.float32


@pytest.mark.parametrize("name", CONFIGS)
def test_step_and_prediction(name: str, tmp_path: Path):
    check_step_and_prediction(thin_model(name, tmp_path))


@functools.cache
def check_step_and_prediction(settings: str) -> None:
    model = build_from(settings)
    counts, losses = count_training_step(
        model, lambda: training_batch(model, SIZE, 3), guarded=True, steps=1
    )
    assert all(map(math.isfinite, losses.values()))
    assert counts.totals()["launches"] > 100
    counts, found = count_prediction(model, photo_for(model, *SIZE), runs=1)
    check_found(found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_mixed_precision(name: str, dtype: torch.dtype, tmp_path: Path):
    check_mixed_precision(thin_model(name, tmp_path), dtype)


@functools.cache
def check_mixed_precision(settings: str, dtype: torch.dtype) -> None:
    """Losses are in float32, and no sum over more than 2,048 elements is in float16."""
    model = build_from(settings)
    kinds = types_of_losses(model)
    counts, losses = count_training_step(
        model, lambda: training_batch(model, SIZE, 3), guarded=True, autocast=dtype, steps=1
    )
    assert kinds == {torch.float32}
    assert all(map(math.isfinite, losses.values()))
    assert not counts.half_sums
    counts, found = count_prediction(model, photo_for(model, *SIZE), autocast=dtype, runs=1)
    assert not counts.half_sums
    check_found(found)


def test_counts_of_r50_fpn():
    """What a step may cost: four waits, whatever the number of objects; copies are the batch's."""
    found = []
    for objects in (10, 50):
        cfg = thin_configs.load("maskr_r50_fpn_1x.py").model
        thin_configs.divide(cfg, thin_configs.WIDTHS, thin_configs.WIDTH)
        cfg.backbone.base_channels = 8
        model = build(cfg)
        counts, _ = count_training_step(
            model, lambda n=objects, m=model: training_batch(m, (96, 128), n), guarded=True
        )
        found.append(counts.totals())
    assert found[0]["launches"] == found[1]["launches"] <= 1000
    assert found[0]["syncs"] == found[1]["syncs"] <= 4
    # two images, of each boxes and labels, ignored ones too; masks
    assert found[0]["copies"] == found[1]["copies"] <= 2 + 8 + 2
