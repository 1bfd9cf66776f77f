"""A run that was killed and resumed equals an undisturbed one, bit for bit (on a CPU)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import child_training as child
import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_maskr import checkpoint_files

EPOCHS = dict(train_cfg__max_epochs=2)
ITERATIONS = dict(
    train_cfg=dict(_delete_=True, type="IterBasedTrainLoop", max_iters=11, val_interval=7),
    param_scheduler=[
        dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=20),
    ],
    default_hooks__checkpoint=dict(by_epoch=False, interval=4, save_best=None),
    log_processor__by_epoch=False,
)
VARIANTS = {
    "epochs": EPOCHS,
    "epochs, grouped by aspect, two workers that stay, no seed": dict(
        EPOCHS,
        train_dataloader=dict(
            num_workers=2,
            persistent_workers=True,
            batch_sampler=dict(_delete_=True, type="AspectRatioBatchSampler"),
            drop_last=False,
        ),
        val_cfg=None, val_dataloader=None, val_evaluator=None, randomness__seed=None,
        default_hooks__checkpoint__save_best=None,
    ),
    "iterations, endless sampler, gradients of three": dict(
        ITERATIONS,
        train_dataloader=dict(sampler=dict(type="InfiniteSampler")),
        optim_wrapper__accumulative_counts=3,
    ),
    "iterations over epochs, no workers": dict(
        ITERATIONS, train_dataloader=dict(num_workers=0)
    ),
}  # fmt: skip


def send_at(iteration: int, number: int) -> Callable[[Runner], None]:
    """Send this process a signal when ``iteration`` (from 0) is trained but not yet saved."""

    class Send(Hook):
        priority = "NORMAL"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == iteration:
                os.kill(os.getpid(), number)

    return lambda runner: runner.register_hook(Send())


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_resumed_equals_undisturbed(
    tmp_path: Path, shapes_root: Path, variant: str, monkeypatch: pytest.MonkeyPatch
):
    """One run that a SIGTERM, then a SIGKILL interrupts, both within an epoch."""
    options = VARIANTS[variant]
    no_sleep = SimpleNamespace(sleep=lambda seconds: None)  # mmengine's are 2 s an epoch
    monkeypatch.setattr("mmengine.runner.loops.time", no_sleep)
    disturbed, calm = tmp_path / "disturbed", tmp_path / "calm"
    disturbed.mkdir()
    calm.mkdir()

    first = child.start(shapes_root, disturbed, False, send_at(2, signal.SIGTERM), **options)
    assert child.finish(first) == 128 + signal.SIGTERM
    assert (disturbed / "last_checkpoint").read_text().endswith("interrupted_iter_3.pth")
    if options.get("randomness__seed", 0) is None:
        checkpoint = checkpoint_files.load(disturbed / "interrupted_iter_3.pth")
        calm_options = dict(options, randomness__seed=checkpoint["meta"]["seed"])
    else:
        calm_options = options
    second = child.start(shapes_root, disturbed, True, send_at(9, signal.SIGKILL), **options)
    assert child.finish(second) == -signal.SIGKILL
    assert child.finish(child.start(shapes_root, disturbed, True, **options)) == 0
    assert child.finish(child.start(shapes_root, calm, False, **calm_options)) == 0

    expected = child.losses(calm)
    assert len(expected) == (16 if variant.startswith("epochs") else 11)
    assert len(set(expected.values())) == len(expected)
    assert child.losses(disturbed) == expected
    last = (calm / "last_checkpoint").read_text()
    child.assert_same_weights(Path(last), disturbed / Path(last).name)
    assert (disturbed / "last_checkpoint").read_text().endswith(Path(last).name)
    assert not list(disturbed.glob("interrupted*"))
    validations = [line for line in _log(disturbed) if "(val)" in line and "mAP:" in line]
    expected_validations = [line for line in _log(calm) if "(val)" in line and "mAP:" in line]
    assert len(validations) == len(expected_validations)


def _log(work_dir: Path) -> list[str]:
    return Path(f"{work_dir}.log").read_text().splitlines()
