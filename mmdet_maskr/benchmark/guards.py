"""The cost of durability: training with all guards against mmengine's Runner and hooks."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmdet_maskr.benchmark.measure import (
    TimedCase,
    Timing,
    add_measuring_options,
    compare,
    time_in_turn,
)
from mmdet_maskr.datasets import shapes
from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.errors import UserError

PEER = "mmengine"
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "mini" / "maskr_shapes.py"
GUARDS = ("LossGuardHook", "HangGuardHook")


class Turnstile(Hook):
    """Lets a training that runs in a thread of its own do some iterations, then holds it."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self._permits = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._clock = time.perf_counter if torch.cuda.is_available() else time.thread_time
        self._ends: list[float] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._permits.acquire()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        self._ends.append(self._clock())
        self._done.release()

    def seconds(self, iterations: int) -> float:
        """Time of ``iterations``, hooks included, after one that is not counted."""
        self._ends.clear()
        self._permits.release(iterations + 1)
        for _ in range(iterations + 1):
            self._done.acquire()
        return self._ends[-1] - self._ends[0]


class Contender:
    """A training on the shapes that advances when it is asked to."""

    def __init__(self, name: str, data: Path, folder: Path) -> None:
        cfg = Config.fromfile(CONFIG)
        replace_data_root(cfg, cfg.data_root, str(data))
        cfg.launcher, cfg.work_dir = "none", str(folder / name)
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
        cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=10**6)
        cfg.param_scheduler = []
        cfg.default_hooks.logger.interval = 10**6
        cfg.default_hooks.checkpoint.interval = 10**6
        cfg.experiment_name = name
        cfg.log_level = "ERROR"
        if name == PEER:
            cfg.runner_type = "Runner"
            cfg.default_hooks.checkpoint.type = "CheckpointHook"
            cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type not in GUARDS]
        self.turnstile = Turnstile()
        self.runner = build_runner(cfg)
        self.runner.register_hook(self.turnstile)
        threading.Thread(target=self.runner.train, daemon=True).start()

    def save(self) -> None:
        """Write a checkpoint, while the training is held."""
        hook = next(hook for hook in self.runner.hooks if isinstance(hook, CheckpointHook))
        hook._save_checkpoint_with_step(self.runner, 1, dict(epoch=1, iter=self.runner.iter))


def add_guards(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand guards."""
    parser = subparsers.add_parser(
        "guards",
        help="training with all guards, compared with mmengine's Runner",
        description=(
            "Times iterations of configs/mini/maskr_shapes.py with DurableRunner, "
            "seeded batches, LossGuardHook, HangGuardHook and DurableCheckpointHook, "
            "and the same iterations with mmengine's Runner and CheckpointHook. Also "
            "times one checkpoint of each. Without a GPU, iterations are timed in CPU "
            "seconds of the training thread, which a busy machine disturbs less (with "
            "--threads 1, they include all work)."
        ),
        epilog="example: maskr benchmark guards --repeats 40 --threads 1",
    )
    add_measuring_options(parser, repeats=40)
    parser.add_argument(
        "--iterations", type=int, default=4, help="iterations in each timed run (%(default)s)"
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A row for the iterations, one for a checkpoint.

    Raises:
        UserError: the configs are not there.
    """
    if not CONFIG.is_file():
        raise UserError(f"there is no {CONFIG}: guards needs the repository's checkout.")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "shapes"
        shapes.write_dataset(data, images=64, val_images=1, size=160, seed=0)
        contenders = {name: Contender(name, data, Path(folder)) for name in ("ours", PEER)}
        steps = {
            name: lambda c=c: c.turnstile.seconds(args.iterations) for name, c in contenders.items()
        }
        rows = [_row(f"{args.iterations} iterations of 8 images", steps, args.repeats)]
        saves = {name: lambda c=c: _timed_save(c) for name, c in contenders.items()}
        rows.append(_row("one checkpoint", saves, min(args.repeats, 9)))
    return rows


def _row(case: str, contenders: dict, repeats: int) -> TimedCase:
    timings: dict[str, Timing] = time_in_turn(contenders, repeats)
    return TimedCase(case, timings["ours"], timings[PEER])


def _timed_save(contender: Contender) -> float:
    start = time.perf_counter()
    contender.save()
    return time.perf_counter() - start
