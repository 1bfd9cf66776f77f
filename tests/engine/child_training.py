"""Trainings in forked children: no start-up to wait for, and they can be killed."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from forked import finish as finish
from forked import fork
from forked import kill as kill
from mmengine.config import Config

from mmdet_maskr import checkpoint_files
from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.launch import run_tool

HERE = Path(__file__).parent
CONFIG = HERE / "durable_config.py"


def config(data: Path, work_dir: Path, resume: bool = False, **options) -> Config:
    """The small config of these tests; ``options`` are dotted keys with ``__`` for the dots."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    cfg = Config.fromfile(CONFIG)
    options = copy.deepcopy(options)  # merging takes `_delete_` out of them
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    for split, name in (("train", "train"), ("val", "val"), ("test", "val")):
        if cfg.get(f"{split}_dataloader") is not None:
            cfg[f"{split}_dataloader"].dataset.data_root = str(data)
        if split != "train" and cfg.get(f"{split}_evaluator") is not None:
            cfg[f"{split}_evaluator"].ann_file = str(data / f"annotations/instances_{name}.json")
    cfg.work_dir, cfg.resume, cfg.launcher = str(work_dir), resume, "none"
    return cfg


def start(data: Path, work_dir: Path, resume: bool = True, prepare=None, **options) -> int:
    """Start a training in a child, as tools/train.py would; returns its process id.

    ``prepare`` is called in the child with the Runner. Output goes to WORK_DIR.log.
    """
    cfg = config(data, work_dir, resume, **options)

    def main() -> None:
        runner = build_runner(cfg)
        if prepare is not None:
            prepare(runner)
        runner.train()

    return fork(lambda: run_tool(main), f"{work_dir}.log")


def losses(work_dir: Path, rank: int = 0) -> dict[int, str]:
    """Losses of each iteration, bit for bit; of those done twice, all must be equal."""
    found: dict[int, str] = {}
    for line in (work_dir / f"losses_{rank}.txt").read_text().splitlines():
        iteration, rest = line.split(" ", 1)
        assert found.setdefault(int(iteration), rest) == rest, f"iteration {iteration} differs"
    return found


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint_files.load(path)["state_dict"]


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, f"{len(different)} of {len(first)} differ, e.g. {different[:3]}"
