"""Checkpoints of a training: full disks, signals, how many are kept, hangs and killed workers."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import child_training as child
import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_maskr import checkpoint_files
from mmdet_maskr.engine import signals
from mmdet_maskr.engine.checkpoint_hook import DurableCheckpointHook
from mmdet_maskr.engine.durable_files import find_damage
from mmdet_maskr.engine.hang_guard import EXIT_CODE, HangGuardHook
from mmdet_maskr.errors import UserError

SHORT = dict(
    train_cfg__max_epochs=1, val_cfg=None, val_dataloader=None, val_evaluator=None,
    train_dataloader__num_workers=0, custom_hooks=[dict(type="WriteLosses")],
    default_hooks__checkpoint=dict(save_best=None, by_epoch=False, interval=3),
)  # fmt: skip


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def log_of(work_dir: Path) -> str:
    return Path(f"{work_dir}.log").read_text()


def names(work_dir: Path) -> list[str]:
    return sorted(path.name for path in work_dir.glob("*.pth*"))


class At(Hook):
    """Calls a function after the training step of one iteration (from 0)."""

    priority = "NORMAL"

    def __init__(self, iteration: int, act) -> None:
        self.iteration, self.act = iteration, act

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.iteration:
            self.act()


def test_keeps_as_many_as_told(work_dir: Path, shapes_root: Path):
    """And those that a killed run has left over are not forgotten."""
    options = dict(SHORT, default_hooks__checkpoint__interval=1)
    options["default_hooks__checkpoint__max_keep_ckpts"] = 2
    for left_over in ("iter_1.pth", "interrupted_iter_2.pth", "iter_3.pth.partial", "mine.pth"):
        (work_dir / left_over).write_bytes(b"")
    assert child.finish(child.start(shapes_root, work_dir, False, **options)) == 0
    kept = ["iter_7.pth", "iter_7.pth.sha256", "iter_8.pth", "iter_8.pth.sha256", "mine.pth"]
    assert names(work_dir) == kept
    assert find_damage(work_dir / "iter_8.pth") is None


def test_full_disk(work_dir: Path, shapes_root: Path):
    """A quota that the second checkpoint meets: a message, and the first one is intact."""

    def lower_quota() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    pid = child.start(
        shapes_root,
        work_dir,
        False,
        lambda runner: runner.register_hook(At(4, lower_quota)),
        **SHORT,
    )
    assert child.finish(pid) == 2
    error = log_of(work_dir)[log_of(work_dir).index("\nerror: ") :]
    assert f"checkpoint iter_6.pth could not be written to {work_dir}: File too large" in error
    assert "intact are iter_3.pth, the last is iter_3.pth" in error
    assert "Traceback" not in error
    assert names(work_dir) == ["iter_3.pth", "iter_3.pth.sha256"]
    assert find_damage(work_dir / "iter_3.pth") is None
    assert child.finish(child.start(shapes_root, work_dir, True, **SHORT)) == 0


def test_signal_once_and_twice(work_dir: Path, shapes_root: Path):
    """One SIGINT saves and leaves; a second one that is no echo leaves at once."""

    def once() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def twice() -> None:
        once()
        signals.ECHO_SECONDS = 0.0  # of this child
        once()

    for act, code, iteration in ((once, 130, 1), (twice, 130, 3)):
        prepare = lambda runner, act=act, at=iteration: runner.register_hook(At(at, act))  # noqa: E731
        assert child.finish(child.start(shapes_root, work_dir, True, prepare, **SHORT)) == code
    assert names(work_dir) == ["iter_3.pth", "iter_3.pth.sha256"]
    assert "SIGINT: saved interrupted_iter_2.pth after iteration 2 and exiting" in log_of(work_dir)
    assert log_of(work_dir).endswith("\nstopped\n") and "Traceback" not in log_of(work_dir)


def test_signal_in_validation(work_dir: Path, shapes_root: Path):
    """The averaged weights are not taken for the model's; the validation is done after all."""

    class InValidation(Hook):
        def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    options = dict(
        train_cfg=dict(max_epochs=1, val_interval=1), train_dataloader__num_workers=0,
        default_hooks__checkpoint=dict(save_best=None, interval=5, save_last=False),
        val_dataloader__batch_size=1, custom_hooks=[dict(type="EMAHook", momentum=0.5)],
    )  # fmt: skip
    pid = child.start(
        shapes_root, work_dir, False, lambda runner: runner.register_hook(InValidation()), **options
    )
    assert child.finish(pid) == 143
    assert names(work_dir) == ["interrupted_iter_8.pth", "interrupted_iter_8.pth.sha256"]
    saved = checkpoint_files.load(work_dir / "interrupted_iter_8.pth")
    assert "mAP" not in log_of(work_dir).split("Epoch(train)")[-1]
    dump = work_dir / "ema.pth"

    def keep_ema(runner: Runner) -> None:
        class Keep(Hook):
            def after_train(self, runner) -> None:
                ema = next(h for h in runner.hooks if type(h).__name__ == "EMAHook")
                torch.save(ema.ema_model.module.state_dict(), dump)

        runner.register_hook(Keep())

    assert child.finish(child.start(shapes_root, work_dir, True, keep_ema, **options)) == 0
    assert "running the validation that was due" in log_of(work_dir)
    assert "coco/segm_mAP:" in log_of(work_dir)
    averaged = checkpoint_files.load(dump)  # mmengine stores it in the model's place
    name = "roi_head.bbox_head.fc_cls.weight"
    assert torch.equal(saved["state_dict"][name], averaged[name])
    assert not torch.equal(saved["ema_state_dict"]["module." + name], averaged[name])


@TRANSFORMS.register_module()
class RunsOutOfMemory:
    """Ends as a data worker does when memory runs out, once there is a file of this name."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, results: dict) -> dict:
        if Path(results["img_path"]).with_name("memory_is_out").exists():
            if self.how == "killed":  # by the kernel
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.how == "numpy":
                np.empty(2**60, np.uint8)
            else:
                raise cv2.error("(-4:Insufficient memory) Failed to allocate 27648 bytes")
        return results


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("killed", "a data worker was ended from outside, most likely for lack of memory"),
        ("numpy", "there is not enough memory (Caught"),
        ("opencv", "there is not enough memory (Caught MemoryError in DataLoader worker"),
    ],
)
def test_data_worker_out_of_memory(work_dir: Path, shapes_root: Path, how: str, message: str):
    """A message, and the older checkpoint stays."""
    flag = shapes_root / "train" / "memory_is_out"
    pipeline = child.config(shapes_root, work_dir).train_dataloader.dataset.pipeline
    breaks = dict(type="RunsOutOfMemory", how=how)
    options = dict(
        SHORT, train_cfg__max_epochs=4, train_dataloader__num_workers=1,
        train_dataloader__dataset__pipeline=[*pipeline[:1], breaks, *pipeline[1:]],
    )  # fmt: skip
    try:
        pid = child.start(
            shapes_root, work_dir, False, lambda r: r.register_hook(At(5, flag.touch)), **options
        )
        assert child.finish(pid) == 1
    finally:
        flag.unlink(missing_ok=True)
    error = log_of(work_dir)[log_of(work_dir).index("\nerror: ") :]
    assert message in error and "Continue with the same command and --resume." in error
    assert "Traceback" not in error
    assert find_damage(work_dir / "iter_6.pth") is None


def test_work_dir_becomes_read_only(work_dir: Path, shapes_root: Path):
    """As after an error of the disk, for checkpoints: a message, and the one before is intact."""

    def remount() -> None:
        real = Path.open

        def refusing(path, mode="r", *args, **kwargs):
            if set(mode) & set("wax+") and ".pth" in path.name:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, mode, *args, **kwargs)

        Path.open = refusing

    prepare = lambda runner: runner.register_hook(At(4, remount))  # noqa: E731
    assert child.finish(child.start(shapes_root, work_dir, False, prepare, **SHORT)) == 2
    error = log_of(work_dir)[log_of(work_dir).index("\nerror: ") :]
    assert f"could not be written to {work_dir}: Read-only file system" in error
    assert "intact are iter_3.pth" in error and "Traceback" not in error
    assert find_damage(work_dir / "iter_3.pth") is None


def test_hang(work_dir: Path, shapes_root: Path):
    """Ended after 3 s, with rank, iteration and the place where it stood."""
    hooks = [dict(type="WriteLosses"), dict(type="HangGuardHook", minutes=0.05)]
    prepare = lambda runner: runner.register_hook(At(4, lambda: time.sleep(60)))  # noqa: E731
    options = dict(SHORT, custom_hooks=hooks)
    pid = child.start(shapes_root, work_dir, False, prepare, **options)
    assert child.finish(pid, 50) == EXIT_CODE
    assert "error: rank 0 hangs: no progress for" in log_of(work_dir)
    assert "since iteration 5" in log_of(work_dir)
    assert "in <lambda>" in log_of(work_dir)
    with pytest.raises(UserError, match=r"minutes must be greater than 0, not 0"):
        HangGuardHook(minutes=0)


def test_best_checkpoint_survives_a_failed_one(
    work_dir: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
):
    """The best one so far goes only when the better one is there."""
    scores = iter([0.1, 0.2, 0.3])
    options = dict(
        train_cfg=dict(max_epochs=3, val_interval=1), train_dataloader__num_workers=0,
        default_hooks__checkpoint__save_best="coco/segm_mAP",
        default_hooks__checkpoint__rule="greater",
        custom_hooks=[dict(type="WriteLosses")],
    )  # fmt: skip

    def prepare(runner: Runner) -> None:
        evaluator = runner.build_evaluator(runner.cfg.val_evaluator)
        evaluator.evaluate = lambda size: {"coco/segm_mAP": next(scores)}
        evaluator.process = lambda data_samples, data_batch=None: None
        runner._val_evaluator = evaluator
        real = runner.save_checkpoint

        def failing(out_dir, filename, *args, **kwargs):
            if filename == "best_coco_segm_mAP_epoch_3.pth":
                raise OSError(28, "No space left on device")
            real(out_dir, filename, *args, **kwargs)

        runner.save_checkpoint = failing

    assert child.finish(child.start(shapes_root, work_dir, False, prepare, **options)) == 2
    best = [name for name in names(work_dir) if name.startswith("best")]
    assert best == ["best_coco_segm_mAP_epoch_2.pth", "best_coco_segm_mAP_epoch_2.pth.sha256"]
    assert "with the best score could not be written" in log_of(work_dir)
    assert "No space left on device (intact are best_coco_segm_mAP_epoch_2.pth, " in log_of(
        work_dir
    )


@pytest.mark.parametrize("keys", [["score"], ["score", "other"]])
def test_copied_work_dir_leaves_the_original_alone(tmp_path: Path, keys: list[str]):
    """The best checkpoint of a copy is the copy's."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    copy.mkdir()
    hook = DurableCheckpointHook(save_best=keys, rule="greater")
    info = {
        name: f"{original}/best_{key}_epoch_1.pth"
        for key in keys
        for name in ("best_ckpt", f"best_ckpt_{key}")
    }
    hub = SimpleNamespace(runtime_info=info, get_info=info.get, update_info=info.update)
    parts = dict(logger=logging.getLogger("test_copy"), hooks=[], model=torch.nn.Identity())
    parts.update(cfg=Config(), work_dir=str(copy), message_hub=hub)
    hook.before_train(SimpleNamespace(**parts))
    try:
        paths = [hook.best_ckpt_path] if len(keys) == 1 else hook.best_ckpt_path_dict.values()
        assert sorted(paths) == sorted(f"{copy}/best_{key}_epoch_1.pth" for key in keys)
    finally:
        hook.close()
