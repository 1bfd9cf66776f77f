"""``maskr train FOLDER``: read the folder, write the config, train, print the result."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.coco.reader import category_ids
from mmdet_maskr.datasets import any_folder
from mmdet_maskr.datasets.formats.prepared import Prepared, Reading, prepare
from mmdet_maskr.datasets.formats.splits import VAL_SHARE
from mmdet_maskr.engine.building import build_runner, enable_mixed_precision
from mmdet_maskr.engine.durable_files import has_checkpoint
from mmdet_maskr.engine.options import load_config
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import check_writable
from mmdet_maskr.recipe import model, notes
from mmdet_maskr.recipe.data import best_of
from mmdet_maskr.recipe.facts import Facts, facts_of
from mmdet_maskr.recipe.machine import this_machine
from mmdet_maskr.recipe.outcome import Outcome, commands, outcome_of, table
from mmdet_maskr.recipe.plan import Wishes, first_plan, fitted, slow_validation
from mmdet_maskr.recipe.recipe import config_text
from mmdet_maskr.recipe.record import finished, goes_on, write_finished, write_record
from mmdet_maskr.recipe.speed import measure
from mmdet_maskr.recipe.starting import start_of
from mmdet_maskr.report import write_report

STARTING = 15.0  # seconds from the recipe to the first iteration
# Options that make another training of a folder.
KEPT = ("minutes", "epochs", "classes", "val", "folds", "seed", "format", "flips",
        "copy_paste", "weights", "amp", "cfg_options")  # fmt: skip


def train_folder(args: argparse.Namespace) -> None:
    """Train on a folder with the options of ``maskr train``.

    Raises:
        UserError: the folder or an option is wrong.
    """
    started = time.monotonic()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU.")
    if args.launcher != "none":
        raise UserError(
            f"--launcher {args.launcher}: a folder is trained by a single process. To use "
            "several GPUs, let this command write the config first, then train the config "
            "with tools/dist_train.sh."
        )
    if args.folds is not None and args.folds < 2:
        raise UserError(f"--folds {args.folds}: it must be 2 or more.")
    root = Path(args.config)
    work_dir = Path(args.work_dir or Path("work_dirs") / (root.resolve().name or "photos"))
    check_writable(work_dir, "--work-dir")
    if args.folds is None:
        _show(_train(args, root, work_dir, _reading(args), started), args.config)
        return
    outcomes = []
    for fold in range(args.folds):
        print(f"\nfold {fold} of {args.folds}", flush=True)
        reading = replace(_reading(args), folds=args.folds, fold=fold)
        place = work_dir / f"fold_{fold}"
        outcomes.append(_train(args, root, place, reading, time.monotonic()))
    for fold, outcome in enumerate(outcomes):
        print(f"\nfold {fold}: {outcome.checkpoint}\n{table(outcome.scores)}")
    print(f"\nover {args.folds} folds, mean and standard deviation:")
    for name in sorted({key for outcome in outcomes for key in outcome.scores}):
        values = [o.scores[name] for o in outcomes if o.scores.get(name, -1) >= 0]
        if name.startswith("coco/") and name.endswith("mAP") and values:
            spread = statistics.pstdev(values)
            mean = statistics.mean(values)
            print(f"  {name.removeprefix('coco/'):16}{100 * mean:6.1f} +- {100 * spread:.1f}")


def _reading(args: argparse.Namespace) -> Reading:
    """How the folder is read; ``--val`` is a share or a folder."""
    share, val_root = VAL_SHARE, None
    if args.val is not None:
        try:
            share = float(args.val)
        except ValueError:
            val_root = os.path.abspath(args.val)
    return Reading(args.format, share, args.seed, val_root=val_root)


def _train(
    args: argparse.Namespace, root: Path, work_dir: Path, reading: Reading, started: float
) -> Outcome:
    print(f"reading {root} ...", flush=True)
    prepared = prepare(root, reading)
    facts = facts_of(prepared, _classes(args.classes, prepared))
    print(notes.told(prepared, facts), flush=True)
    any_folder.TOLD.add(prepared.digest)
    config = work_dir / "recipe" / f"{work_dir.name}.py"
    options = {key: _as_json(getattr(args, key)) for key in KEPT}
    options = {key: value for key, value in options.items() if value not in (None, False)}
    if goes_on(work_dir, config, prepared.digest, options):
        done = finished(config.parent)
        if done is not None and has_checkpoint(work_dir):
            print(
                f"{work_dir}: this training is finished, with {done} iterations. To train for "
                "longer, pass --minutes or --epochs and another --work-dir.",
                flush=True,
            )
            return outcome_of(work_dir, config, best_of(facts))
    else:
        _write_config(args, facts, prepared, reading, root, work_dir, config, started)
        write_record(config.parent, prepared.digest, options)
    cfg = load_config(argparse.Namespace(
        config=str(config), work_dir=str(work_dir), data_root=None, cfg_options=None,
        launcher=args.launcher, local_rank=args.local_rank,
    ))  # fmt: skip
    cfg.visualizer["name"] = str(work_dir)  # or the next fold would log into the first one's
    if args.amp:
        enable_mixed_precision(cfg)
    begun = has_checkpoint(work_dir)
    if begun:
        cfg.resume, cfg.load_from = True, None
    cfg.short_console = True
    pages = f"progress: {work_dir / 'preview.html'}, full log: {work_dir / '*' / '*.log'}"
    what = "resuming the training of" if begun else "training"
    print(f"{what} {cfg.train_cfg.max_iters} iterations; {pages}", flush=True)
    runner = build_runner(cfg, needs="train")
    runner.train()
    write_finished(config.parent, runner.iter)
    return outcome_of(work_dir, config, best_of(facts))


def _write_config(
    args: argparse.Namespace,
    facts: Facts,
    prepared: Prepared,
    reading: Reading,
    root: Path,
    work_dir: Path,
    config: Path,
    started: float,
) -> None:
    """Write the config; where minutes are given, after a few iterations that tell the speed."""
    wishes = Wishes(
        args.minutes, args.epochs, args.weights, args.flips, args.seed, bool(args.copy_paste)
    )
    machine = this_machine()
    start = start_of(machine, wishes.weights, None if facts.bands is None else facts.bands.types)
    plan = first_plan(facts, machine, start.small, wishes)
    given = dict(args.cfg_options or {})
    base_file = config.with_name("model.py")

    def write() -> Any:
        text = config_text(
            facts, plan, machine, wishes, start, prepared, reading,
            str(root.absolute()), work_dir.absolute(), base_file.absolute(), given,
        )  # fmt: skip
        write_whole(config, text)
        return load_config(argparse.Namespace(
            config=str(config), work_dir=str(work_dir), data_root=None, cfg_options=None,
            launcher="none", local_rank=0,
        ))  # fmt: skip

    if start.config is not None:
        write_whole(base_file, model.text_of_model(start.config, facts))
    cfg = write()
    if wishes.minutes is not None:
        speed = measure(cfg)
        left = wishes.minutes * 60 - (time.monotonic() - started) - STARTING
        first, plan = plan, fitted(plan, facts, speed, left, wishes.minutes)
        cfg = write()
        slow = slow_validation(first, plan, facts, speed, left)
        if slow is not None:
            print(f"WARNING: {slow}", flush=True)
    print(f"{config}: the config, with a reason for each value", flush=True)


def _classes(wanted: str | None, prepared: Prepared) -> list[str] | None:
    if wanted is None:
        return None
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    entries = [dict(id=i, name=name) for i, name in enumerate(prepared.summary["classes"])]
    category_ids(names, entries, range(len(entries)), str(prepared.root))
    return names


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _show(outcome: Outcome, data_root: str) -> None:
    """Say what came out, and write the report."""
    uses = commands(outcome, data_root)
    print(f"\n{table(outcome.scores)}\n")
    print(f"best checkpoint (iteration {outcome.iteration}, by {outcome.score}): "
          f"{outcome.checkpoint}")  # fmt: skip
    print(f"config: {outcome.config}")
    if outcome.checkpoint is not None:
        page = write_report(
            outcome.work_dir,
            config=outcome.config,
            checkpoint=outcome.checkpoint,
            title=outcome.work_dir.name,
            commands=uses,
        )
        print(f"report: {page}")
    for what, command in uses:
        print(f"  {what:10} {command}", flush=True)
