"""Scores that no evaluator gives are refused before the first iteration."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import child_training as child
import pytest
from mmdet.evaluation import CocoMetric
from mmengine.evaluator import DumpResults
from toy_training import ToyMetric, toy_runner

from mmdet_maskr.engine.score_keys import names_of
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import CocoInstanceMetric


def test_names_of_coco(shapes_root: Path):
    """They are those of an evaluation."""
    file = str(shapes_root / "annotations" / "instances_val.json")
    metrics = [
        CocoInstanceMetric(file, ["bbox", "segm", "keypoints"]),
        CocoMetric(file, "proposal_fast", prefix="mine"),
        DumpResults("a.pkl"),
    ]
    names, patterns = names_of(metrics)
    assert {"coco/bbox_mAP", "coco/segm_mAP_s", "coco/keypoints_mAP_75"} <= names
    assert "mine/AR@1000" in names and "coco/keypoints_mAP_s" not in names
    assert len(names) == 6 + 6 + 5 + 3 and not patterns
    assert names_of([CocoInstanceMetric(file, classwise=True)])[1] == [r"coco/.+_precision"]
    assert names_of([ToyMetric()]) == (set(), ["toy/.+"])


@pytest.mark.parametrize(
    "options",
    [
        dict(checkpoint=dict(save_best="score", rule="greater")),
        dict(hooks=[dict(type="EarlyStoppingHook", monitor="coco/mAP", strict=False)]),
        dict(schedulers=[dict(type="ReduceOnPlateauLR", monitor="acc")]),
    ],
    ids=["save_best", "early stopping", "plateau"],
)
def test_wrong_keys(tmp_path: Path, options: dict):
    runner = toy_runner(tmp_path, val_interval=1, **options)
    with pytest.raises(UserError):
        runner.train()
    assert runner.iter == 0
    toy_runner(tmp_path, val_interval=0, **options).train()  # nothing to watch: said, no error


@pytest.mark.parametrize(("begin", "told"), [(3, 0), (4, 1)])
def test_validation_after_the_end(tmp_path: Path, begin: int, told: int):
    """No best checkpoint can be found then."""
    lines: list[str] = []
    cfg = dict(by_epoch=True, max_epochs=3, val_interval=1, val_begin=begin)
    best = dict(save_best="toy/score", rule="greater")
    runner = toy_runner(tmp_path, val_interval=1, checkpoint=best, train_cfg=cfg)
    runner.logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: lines.append(record.getMessage())
    runner.train()
    assert sum("has no effect: validation begins after" in line for line in lines) == told
    assert len(list(tmp_path.glob("best*.pth"))) == 1 - told


def test_key_of_older_versions(tmp_path: Path, repo: Path, shapes_root: Path):
    """Exit code 2 before training, with the key of today."""
    result = subprocess.run(
        [sys.executable, str(repo / "tools" / "train.py"), str(child.CONFIG), "--work-dir",
         str(tmp_path / "work"), "--data-root", str(shapes_root),
         "--cfg-options", "default_hooks.checkpoint.save_best=bbox_mAP"],
        capture_output=True, text=True, env=child_env(repo),
    )  # fmt: skip
    assert result.returncode == 2, result.stderr[-2000:]
    assert "'coco/bbox_mAP'" in result.stderr.splitlines()[-1]
    assert not list((tmp_path / "work").glob("*.pth"))


def child_env(repo: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{child.HERE}:{repo}"}
