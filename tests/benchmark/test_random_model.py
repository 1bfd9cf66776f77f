"""Random weights find about as many objects as they should, for any model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from torch.nn.modules.batchnorm import _BatchNorm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from thin_configs import load as load_config
from thin_configs import thin

from mmdet_maskr.benchmark.random_model import (
    batch_of,
    build,
    calibrate,
    our_config,
    read_photo,
    synthetic_photo,
)
from mmdet_maskr.errors import UserError


def passing(model: torch.nn.Module, batch: dict) -> int:
    """Boxes above the threshold, with no NMS and no limit."""
    model.test_cfg.rcnn.update(nms=dict(type="nms", iou_threshold=1.0), max_per_img=100_000)
    with torch.no_grad():
        found: DetDataSample = model.test_step(batch)[0]
    return len(found.pred_instances)


@pytest.mark.parametrize("wanted", [40, 100])
def test_candidates_of_the_mini_model(wanted: int):
    """As many boxes pass as is returned, and that is about as many as asked for."""
    model = build(our_config("maskr_mini_fpn.py"))
    batch = batch_of(synthetic_photo(128, 160))
    count = calibrate(model, batch, wanted)
    assert 0.8 * wanted <= count <= 1.2 * wanted
    assert passing(model, batch) == pytest.approx(count, abs=2)


def test_scores_are_not_all_the_same():
    """Else the best ones, of which there is a limit, would be any."""
    model = build(our_config("maskr_mini_fpn.py"))
    batch = batch_of(synthetic_photo(128, 160))
    calibrate(model, batch)
    with torch.no_grad():
        scores = model.test_step(batch)[0].pred_instances.scores
    assert len(scores) == 30 and len(scores.unique()) == 30
    assert scores.min() < 0.95


@pytest.mark.parametrize("name", ["maskr_r50_c4_1x.py", "maskr_keypoint_r50_fpn_90k.py"])
def test_candidates_of_thin_models(name: str, tmp_path: Path):
    """Of the 80 classes of a backbone without a neck, and of persons alone."""
    cfg = thin(load_config(name), tmp_path)
    cfg.model.test_cfg.rpn.max_per_img = 50
    cfg.model.test_cfg.rcnn.score_thr = 0.05
    model = build(cfg.model)
    count = calibrate(model, batch_of(synthetic_photo(128, 160)), 40)
    assert 20 <= count <= 80
    assert not any(layer.training for layer in model.modules())


def test_statistics_are_those_of_the_image():
    """Activations after a norm have mean 0 and deviation 1 on the image."""
    model = build(our_config("maskr_mini_fpn.py"))
    batch = batch_of(synthetic_photo(128, 160))
    calibrate(model, batch)
    norm = model.backbone.norm1
    assert isinstance(norm, _BatchNorm) and norm.momentum == 0.1
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        model.test_step(batch)
    assert seen[0].mean((0, 2, 3)).abs().max() < 1e-3
    assert (seen[0].std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_thresholds_that_cannot_be_met():
    model = build(our_config("maskr_mini_fpn.py"))
    model.test_cfg.rcnn.score_thr = 1.0
    with pytest.raises(UserError, match=r"0 boxes .* above score_thr=1\.0, not about 100"):
        calibrate(model, batch_of(synthetic_photo(128, 160)))


def test_photos(tmp_path: Path):
    photo = synthetic_photo(40, 60)
    assert photo.shape == (40, 60, 3) and photo.dtype == np.uint8
    assert photo.min() == 0 and photo.max() == 255
    assert (photo != synthetic_photo(40, 60, seed=1)).any()
    with pytest.raises(UserError, match=r"none\.jpg cannot be read: no such file"):
        read_photo(tmp_path / "none.jpg", 40, 60)
