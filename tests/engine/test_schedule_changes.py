"""A resume with another schedule: the run goes on as one that had it from the start."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from toy_training import Rates, ToyMetric, assert_equal, toy_runner, weights_of

from mmdet_maskr.errors import UserError

WARM_UP = dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6)
STEPS = dict(type="MultiStepLR", by_epoch=True, begin=0, end=12, milestones=[1, 3], gamma=0.5)
SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.01)
BASE = dict(optimizer=SGD, schedulers=[WARM_UP, STEPS], epochs=4)


def with_sgd(**changes) -> dict:
    return dict(optimizer=dict(SGD, **changes))


CHANGES = {
    "rate": with_sgd(lr=0.5),
    "rate and weight decay": with_sgd(lr=0.02, weight_decay=0.3),
    "milestones": dict(schedulers=[WARM_UP, dict(STEPS, milestones=[3, 5])]),
    "end and gamma": dict(schedulers=[dict(WARM_UP, end=9), dict(STEPS, gamma=0.1)]),
    "a longer cosine": dict(
        schedulers=[WARM_UP, dict(type="CosineAnnealingLR", by_epoch=False, T_max=40, end=40)]
    ),
    "one scheduler less": dict(schedulers=[STEPS]),
    "none": dict(schedulers=None),
    "momentum moved as well": dict(
        schedulers=[WARM_UP, STEPS, dict(type="StepMomentum", step_size=1, gamma=0.9)]
    ),
    "one cycle": dict(
        schedulers=[dict(type="OneCycleLR", by_epoch=False, eta_max=0.3, total_steps=16)]
    ),
}


def saved(folder: Path, old: bool, **options) -> Path:
    """A checkpoint of the second epoch, of mmengine's hook if ``old``."""
    runner = toy_runner(folder, **dict(BASE, **options))
    if old:
        hook = next(h for h in runner.hooks if type(h).__name__ == "DurableCheckpointHook")
        hook._capture = lambda *args: None
    runner.train()
    return folder / "epoch_2.pth"


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_config_wins(tmp_path: Path, change: str, old: bool, caplog: pytest.LogCaptureFixture):
    """Rates from the resume on are those of an undisturbed run with the new config."""
    new = dict(BASE, **CHANGES[change])
    at = saved(tmp_path / "before", old)
    calm, rates = toy_runner(tmp_path / "calm", **new), Rates(("lr", "momentum", "weight_decay"))
    calm.register_hook(rates)
    calm.train()
    resumed, seen = toy_runner(tmp_path / "resumed", resume=at, **new), Rates(rates.names)
    resumed.register_hook(seen)
    told = []
    resumed.logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: told.append(record.getMessage())
    resumed.train()
    assert sorted(seen.seen) == list(range(8, 16))
    for iteration, values in seen.seen.items():
        assert values[0] == pytest.approx(rates.seen[iteration][0], rel=1e-12), iteration
    lines = [line for line in told if "of the config" in line]
    assert lines and len(lines) == len(set(lines))


@pytest.mark.parametrize("old", [False, True])
def test_nothing_changed_nothing_said(tmp_path: Path, old: bool):
    at = saved(tmp_path / "before", old)
    resumed = toy_runner(tmp_path / "resumed", resume=at, **BASE)
    told = []
    resumed.logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: told.append(record.getMessage())
    resumed.train()
    assert not [line for line in told if "of the config" in line]


def test_twice(tmp_path: Path):
    """What counts is the config that the checkpoint was saved with, not the first one."""
    at = saved(tmp_path / "before", False)
    new = dict(BASE, **with_sgd(lr=0.5))
    toy_runner(tmp_path / "second", resume=at, **new).train()
    calm = toy_runner(tmp_path / "calm", resume=tmp_path / "second" / "epoch_3.pth", **new)
    told = []
    calm.logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: told.append(record.getMessage())
    calm.train()
    assert not [line for line in told if "of the config" in line]
    whole = toy_runner(tmp_path / "whole", resume=at, **new)
    whole.train()
    assert_equal(weights_of(calm), weights_of(whole))


def test_schedule_that_goes_by_scores(tmp_path: Path):
    """Its patience is the config's; what it has lowered stays lowered."""
    plateau = dict(type="ReduceOnPlateauLR", monitor="toy/score", rule="greater", patience=0)
    options = dict(BASE, val_interval=1)
    ToyMetric.scores = [0.5, 0.4, 0.4, 0.4]
    at = saved(tmp_path / "before", False, val_interval=1, schedulers=[plateau])
    ToyMetric.scores = [0.4, 0.4, 0.4]
    seen = Rates(("lr",))
    resumed = toy_runner(
        tmp_path / "resumed", resume=at, **dict(options, schedulers=[dict(plateau, patience=9)])
    )
    resumed.register_hook(seen)
    resumed.train()
    assert seen.seen[8] == [[0.1]] and seen.seen[15] == [[0.1]]


@pytest.mark.parametrize(
    "change",
    [
        dict(optimizer=dict(type="AdamW", lr=0.1)),
        dict(model=dict(type="ToyModel", heads=2)),
        dict(optim_wrapper=dict(optimizer=SGD, paramwise_cfg=dict(norm_decay_mult=0.0))),
    ],
    ids=["optimizer", "a head", "paramwise_cfg"],
)
@pytest.mark.parametrize("old", [False, True])
def test_changes_that_cannot_fit(tmp_path: Path, change: dict, old: bool):
    at = saved(tmp_path / "before", old)
    runner = toy_runner(tmp_path / "resumed", resume=at, **dict(BASE, **change))
    with pytest.raises(UserError, match=r"epoch_2\.pth"):
        runner.train()


class TimeLeft(Hook):
    """Notes the seconds that are left after each iteration."""

    priority = "LOW"  # after the timer

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seen.append(runner.message_hub.get_info("eta"))


@pytest.mark.parametrize(("saved", "left"), [("iter_4", 2), ("iter_2", 3)])
def test_time_left_of_epochs_that_became_shorter(tmp_path: Path, saved: str, left: int):
    """Two epochs of 4 batches go on, after one of them or in it, with 2 batches an epoch."""
    large = dict(batch_size=4, dataset=dict(type="ToyDataset"), sampler=dict(type="DefaultSampler"))
    every = dict(by_epoch=False, interval=2)
    toy_runner(tmp_path / "a", epochs=2, checkpoint=every).train()
    hook, path = TimeLeft(), tmp_path / "a" / f"{saved}.pth"
    runner = toy_runner(tmp_path / "b", path, epochs=2, hooks=[hook], train_dataloader=large)
    runner.train()
    assert len(hook.seen) == left
    assert runner.max_iters == runner.iter
    assert all(now > 0 for now in hook.seen[:-1]) and hook.seen[-1] == 0
