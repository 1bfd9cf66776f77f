"""Hooks that check the number of classes and that let evaluation work on RLEs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.evaluation import CocoMetric, DumpDetResults, LVISMetric
from mmdet.models import BatchResize
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner
from thin_configs import load, thin

from mmdet_maskr.engine.hooks import RLEMasksInEvaluationHook
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_rle import RLEMasks


def runner(repo: Path, shapes_root: Path, work_dir: Path, **options: object) -> Runner:
    """The mini model on shapes, untrained, with dotted options of its config."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.work_dir = str(work_dir)
    for split in ("train", "val", "test"):
        loader = cfg[f"{split}_dataloader"]
        loader.dataset.data_root = str(shapes_root)
        loader.update(num_workers=0, persistent_workers=False)
    for split in ("val", "test"):
        cfg[f"{split}_evaluator"].ann_file = str(shapes_root / "annotations/instances_val.json")
    cfg.merge_from_dict(
        {
            "model.test_cfg.rcnn.score_thr": 0.0,
            "model.test_cfg.rcnn.max_per_img": 5,
            "train_cfg.max_epochs": 1,
            "train_cfg.val_interval": 1,
            "default_hooks.checkpoint": None,
            **options,
        }
    )
    cfg.experiment_name = f"{work_dir.name}_{torch.randint(10**9, ()).item()}"
    cfg.randomness = dict(seed=0)
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize("mode", ["train", "test"])
def test_number_of_classes(repo: Path, shapes_root: Path, tmp_path: Path, mode: str):
    """Training and testing end before the first iteration, with both numbers and the keys."""
    wrong = {
        "model.roi_head.bbox_head.num_classes": 4,
        "model.roi_head.mask_head.num_classes": 80,
    }
    broken = runner(repo, shapes_root, tmp_path, **wrong)
    with pytest.raises(UserError) as error:
        getattr(broken, mode)()
    message = str(error.value)
    assert f"{mode}_dataloader has 6 classes" in message
    assert "model.roi_head.bbox_head.num_classes=4" in message
    assert "model.roi_head.mask_head.num_classes=80" in message
    assert "rpn" not in message


@pytest.mark.parametrize("mode", ["train", "test"])
def test_keypoints(repo: Path, shapes_root: Path, tmp_path: Path, mode: str):
    """A keypoint head for persons does not fit the shapes' figures."""
    broken = runner(repo, shapes_root, tmp_path)
    head = broken.model.roi_head.keypoint_head = torch.nn.Module()
    head.num_keypoints, head.keypoint_labels = 17, [5]
    with pytest.raises(UserError, match=rf"of {mode}_dataloader has 9 keypoints, .*=17"):
        getattr(broken, mode)()
    head.num_keypoints = 9
    broken.model.data_preprocessor.batch_augments = torch.nn.ModuleList([BatchResize((64, 96))])
    if mode == "train":
        with pytest.raises(UserError, match="BatchResize, which resizes images and boxes but not"):
            broken.train()


def test_evaluation_on_rles(
    repo: Path, shapes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Scores, pictures and prediction files are those of dense masks; then masks are dense."""
    scores, files, pictures = [], [], []
    for output in ("rle", "dense"):
        options = {
            "default_hooks.visualization.draw": True,
            "default_hooks.visualization.score_thr": 0.0,
            "default_hooks.visualization.test_out_dir": "shown",
        }
        if output == "dense":
            options["model.test_cfg.rcnn.mask_output"] = "dense"
        work_dir = tmp_path / output
        tested = runner(repo, shapes_root, work_dir, **options)
        file = work_dir / "predictions.pkl"
        tested.test_evaluator.metrics.append(DumpDetResults(out_file_path=str(file)))
        seen = []
        monkeypatch.setattr(
            tested.test_evaluator,
            "process",
            partial(_process, seen, tested.test_evaluator.process),
        )
        np.random.seed(0)  # colors are drawn at random
        torch.manual_seed(0)
        tested.model.init_weights()
        scores.append(tested.test())
        assert set(seen) == {RLEMasks if output == "rle" else torch.Tensor}
        test_cfg = tested.model.roi_head.test_cfg
        assert test_cfg.get("mask_output", "unset") == ("unset" if output == "rle" else "dense")
        files.append(pickle.loads(file.read_bytes()))
        pictures.append([cv2.imread(str(p)) for p in sorted(work_dir.glob("*/shown/*.png"))])
    assert scores[0] == scores[1]
    assert len(files[0]) == 4 and len(pictures[0]) == len(pictures[1]) == 4
    for rle, dense in zip(*files, strict=True):
        ours, expected = rle["pred_instances"]["masks"], dense["pred_instances"]["masks"]
        assert len(ours) == 5 and ours == expected
        assert pycocotools.mask.area(ours).any()
    for ours, expected in zip(*pictures, strict=True):
        assert np.array_equal(ours, expected)


def _process(seen: list, process: Callable, data_samples: list, data_batch: object = None) -> None:
    seen.append(type(data_samples[0].pred_instances.masks))
    process(data_samples, data_batch)


def test_metrics_that_want_tensors_get_them(repo: Path, shapes_root: Path, tmp_path: Path):
    class WithScores(CocoMetric):
        def process(self, data_batch, data_samples):
            self.seen = type(data_samples[0]["pred_instances"]["masks"])
            super().process(data_batch, data_samples)

    tested = runner(repo, shapes_root, tmp_path)
    ann_file = str(shapes_root / "annotations/instances_val.json")
    metric = WithScores(ann_file=ann_file, metric="segm")
    tested.test_evaluator.metrics[:] = [metric]
    metric.dataset_meta = tested.test_dataloader.dataset.metainfo
    tested.test()
    assert metric.seen is torch.Tensor
    metric.accepts_rle = True
    tested.test()
    assert metric.seen is RLEMasks
    assert LVISMetric.process is not CocoMetric.process


def test_cascades_are_evaluated_on_rles(tmp_path: Path):
    """Every stage has a mask head of its own; the last one gives the masks."""
    cfg = thin(load("compositions/cascade_maskr_r50_fpn_1x.py"), tmp_path)
    model = MODELS.build(cfg.model)
    running = SimpleNamespace(model=model, val_loop=None)
    hook = RLEMasksInEvaluationHook()
    hook.before_val(running)
    assert model.roi_head.test_cfg.mask_output == "rle"
    hook.after_val(running)
    assert "mask_output" not in model.roi_head.test_cfg
