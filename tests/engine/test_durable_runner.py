"""What DurableRunner sees to around a training."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from pathlib import Path

import child_training as child
import pytest
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop
from toy_training import toy_runner

from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.hang_guard import HangGuardHook


@pytest.mark.parametrize("what", ["val", "test"])
def test_validation_alone_builds_no_training(tmp_path: Path, what: str):
    """And saves nothing, whatever the hooks of a training are; that can begin afterwards."""
    runner = toy_runner(
        tmp_path,
        val_interval=1,
        checkpoint=dict(save_best="toy/score", rule="greater"),
        hooks=[dict(type="EarlyStoppingHook", monitor="toy/score", rule="greater")],
    )
    if what == "test":
        runner._test_dataloader, runner._test_loop = runner._val_dataloader, dict(type="TestLoop")
        runner._test_evaluator = dict(type="ToyMetric")
    assert "toy/score" in getattr(runner, what)()
    assert not isinstance(runner._train_loop, BaseLoop)
    assert not list(tmp_path.glob("*.pth"))
    runner.train()
    assert list(tmp_path.glob("best_*.pth"))


@pytest.mark.parametrize("error", [None, ValueError, SystemExit])
def test_hooks_are_closed_when_training_ends(shapes_root: Path, tmp_path: Path, error: type | None):
    """In a notebook the process lives on: neither guards it nor signals are taken from it then."""

    class Break(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            assert any(thread.name == "hang guard" for thread in threading.enumerate())
            assert signal.getsignal(signal.SIGTERM) is not handler
            if error is not None:
                raise error

    handler = signal.getsignal(signal.SIGTERM)
    options = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
    cfg = child.config(shapes_root, tmp_path, train_dataloader__num_workers=0,
                       default_hooks__checkpoint__save_best=None, train_cfg__max_epochs=1,
                       custom_hooks=[dict(type="HangGuardHook")], **options)  # fmt: skip
    cfg.experiment_name = tmp_path.name
    built = build_runner(cfg)
    built.register_hook(Break())
    with contextlib.suppress(ValueError, SystemExit):
        built.train()
    guard = next(hook for hook in built.hooks if isinstance(hook, HangGuardHook))
    assert guard._ended.is_set() and not guard._armed
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("error", [None, ValueError])
def test_data_workers_end_with_the_training(
    shapes_root: Path, tmp_path: Path, by_epoch: bool, error: type | None
):
    """And do not wait for the garbage collector; a validation afterwards has its own."""

    class Break(Hook):
        def after_train_iter(self, runner, *args, **kwargs) -> None:
            assert len(set(multiprocessing.active_children()) - before) == 2
            if error is not None:
                raise error

    before = set(multiprocessing.active_children())
    stay = dict(num_workers=2, persistent_workers=True)
    cfg = child.config(shapes_root, tmp_path, train_dataloader=stay, val_dataloader=stay,
                       default_hooks__checkpoint__save_best=None)  # fmt: skip
    loop = dict(type="EpochBasedTrainLoop", max_epochs=1, val_interval=9)
    if not by_epoch:
        loop = dict(type="IterBasedTrainLoop", max_iters=2, val_interval=9)
    cfg.train_cfg, cfg.experiment_name = loop, tmp_path.name
    runner = build_runner(cfg)
    runner.register_hook(Break())
    with contextlib.nullcontext() if error is None else pytest.raises(error):
        runner.train()
    assert set(multiprocessing.active_children()) == before
    assert runner.val()
    assert set(multiprocessing.active_children()) == before


def test_ranks_meet_in_the_work_dir(shapes_root: Path, tmp_path: Path):
    """Nodes share it, but maybe not the current folder; each metric has a folder of its own."""
    built = build_runner(child.config(shapes_root, tmp_path / "work"))
    evaluator = built.build_evaluator([dict(built.cfg.val_evaluator) for _ in range(2)])
    first, second = (Path(metric.collect_dir) for metric in evaluator.metrics)
    assert first.parent == second.parent == tmp_path / "work"
    assert first != second
    evaluator.metrics[1].collect_dir = "mine"
    again = built.build_evaluator(evaluator).metrics
    assert [metric.collect_dir for metric in again] == [str(first), "mine"]
