"""Validation under HangGuardHook: its batches count, the evaluation on the first rank does not."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forked import finish, fork
from mmengine.config import Config
from toy_training import ToyMetric, rank_runner, run_ranks

from mmdet_maskr.engine.hang_guard import EXIT_CODE, HangGuardHook
from mmdet_maskr.engine.timeouts import seconds_of_waiting

SECONDS = 2.5


class SlowMetric(ToyMetric):
    """Its evaluation takes longer than the guard waits, or one of its batches does."""

    in_evaluation = True

    def process(self, data_batch, data_samples) -> None:
        super().process(data_batch, data_samples)
        if not self.in_evaluation and len(self.results) > 2:
            time.sleep(30)

    def compute_metrics(self, results: list) -> dict:
        time.sleep(2 * SECONDS + 1 if self.in_evaluation else 0)
        return super().compute_metrics(results)


@pytest.mark.parametrize("in_evaluation", [True, False])
def test_validation_on_two_ranks(tmp_path: Path, in_evaluation: bool):
    """Both ranks are well while the first one evaluates; both end if batches stand still."""

    def run(rank: int) -> None:
        metric = SlowMetric()
        metric.in_evaluation = in_evaluation
        runner = rank_runner(
            tmp_path / "work", epochs=1, val_interval=1, checkpoint=dict(save_best=None),
            hooks=[dict(type="HangGuardHook", minutes=SECONDS / 60)],
            env_cfg=dict(dist_cfg=dict(timeout=60)),
        )  # fmt: skip
        runner._val_evaluator = [metric]
        runner.train()

    codes = run_ranks(tmp_path, 2, run)
    log = (tmp_path / "rank_1.log").read_text()
    assert codes == [0 if in_evaluation else EXIT_CODE] * 2, log
    assert ("rank 1 hangs" in log) is not in_evaluation
    assert "not longer than" not in log


def test_a_notebook_has_no_file_for_errors(tmp_path: Path):
    """Its stderr is no file; the guard writes to the process's, and works on."""

    def run() -> None:
        sys.stderr = io.StringIO()
        guard = HangGuardHook(minutes=SECONDS / 60)
        guard._arm(SimpleNamespace(iter=0))
        guard._watch()

    assert finish(fork(run, tmp_path / "log"), 50) == EXIT_CODE
    log = (tmp_path / "log").read_text()
    assert "test_hang_guard.py" in log and "Exception" not in log


def test_guard_and_timeout_are_compared(tmp_path: Path):
    """Where collective operations would end first, a warning says so."""

    def run(rank: int) -> None:
        runner = rank_runner(
            tmp_path / "work", epochs=1, hooks=[dict(type="HangGuardHook", minutes=1)],
            env_cfg=dict(dist_cfg=dict(timeout=60)),
        )  # fmt: skip
        runner.train()

    assert run_ranks(tmp_path, 2, run) == [0, 0]
    log = (tmp_path / "rank_0.log").read_text()
    assert "for 60 s (env_cfg.dist_cfg.timeout), which is not longer than HangGuardHook" in log


def test_configs_guard_before_the_timeout(repo: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = Config.fromfile(repo / "configs" / "_base_" / "default_runtime.py")
    assert {"type": "HangGuardHook"} in cfg.custom_hooks  # 30 minutes
    assert seconds_of_waiting(cfg) > 2 * 1800
    # torch's own
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert seconds_of_waiting(Config(dict(env_cfg=dict(dist_cfg=dict(backend="nccl"))))) == 600
    assert seconds_of_waiting(Config(dict(env_cfg=dict(dist_cfg=dict(backend="gloo"))))) == 1800
