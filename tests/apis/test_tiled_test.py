"""A test on tiles scores what a test on images does, where an image is one tile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.evaluator import BaseMetric

from mmdet_maskr.apis.predictions import to_rles
from mmdet_maskr.apis.tiled_test import MAX_DETS, tiles_hook
from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.tta_config import enable_tta
from mmdet_maskr.errors import UserError


class Kept(BaseMetric):
    """Keeps the predictions."""

    accepts_rle = True

    def __init__(self) -> None:
        super().__init__(collect_device="cpu")
        self.samples: list[dict] = []

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        self.samples += data_samples
        self.results += [0] * len(data_samples)

    def compute_metrics(self, results: list) -> dict:
        return {}


@pytest.fixture
def cfg(repo: Path, shapes_root: Path, tmp_path: Path) -> Config:
    """Random weights that detect everything; the four validation images of the shapes."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    cfg.test_dataloader.dataset.data_root = str(shapes_root)
    cfg.test_evaluator.ann_file = str(shapes_root / "annotations" / "instances_val.json")
    cfg.work_dir, cfg.launcher = str(tmp_path / "work"), "none"
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / "model.pth")
    cfg.load_from = str(tmp_path / "model.pth")
    return cfg


def run(cfg: Config, **tiles) -> tuple[dict, list[dict]]:
    """Scores and predictions of a test."""
    hook = tiles_hook(cfg, **tiles) if tiles else None
    runner = build_runner(cfg, needs="test")
    if hook is not None:
        runner.register_hook(hook)
    model, kept = runner.model, Kept()
    runner.test_evaluator.metrics.append(kept)
    scores = runner.test()
    assert runner.model is model, "the model is put back"
    return scores, kept.samples


@pytest.mark.parametrize("augmented", [False, True])
def test_images_of_one_tile(cfg: Config, augmented: bool):
    if augmented:
        enable_tta(cfg)
    whole_cfg, tiled_cfg = cfg, Config(cfg._cfg_dict.to_dict())
    tiled_scores, tiled = run(tiled_cfg, tile=96, overlap=0.2)
    whole_scores, whole = run(whole_cfg)
    assert tiled_scores == whole_scores
    assert len(whole) == len(tiled) == 4
    for expected, found in zip(whole, tiled, strict=True):
        assert found["img_id"] == expected["img_id"]
        assert found["ori_shape"] == expected["ori_shape"] == (96, 96)
        expected, found = expected["pred_instances"], found["pred_instances"]
        assert len(found["scores"]) and to_rles(found["masks"]) == to_rles(expected["masks"])
        for name in ("bboxes", "scores", "labels", "keypoints", "keypoint_scores"):
            assert torch.allclose(found[name], expected[name]), name


def test_counts_of_detections(cfg: Config):
    """COCO's 100 are no limit of a large image; the config's own is kept."""
    other = Config(cfg._cfg_dict.to_dict())
    other.test_evaluator.max_dets = 7
    tiles_hook(cfg, 96, 0.2)
    tiles_hook(other, 96, 0.2)
    assert cfg.test_evaluator.max_dets == MAX_DETS and other.test_evaluator.max_dets == 7


def test_bad_tiles(cfg: Config):
    with pytest.raises(UserError, match="smaller than the model's stride"):
        run(cfg, tile=8, overlap=0.2)
