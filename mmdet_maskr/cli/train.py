"""``maskr train``: train a config."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_maskr.engine.building import begin_from, build_runner, enable_mixed_precision
from mmdet_maskr.engine.durable_files import has_checkpoint
from mmdet_maskr.engine.options import load_config, weights_of
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe.run import train_folder

ONLY_FOLDERS = (
    "minutes",
    "epochs",
    "classes",
    "val",
    "folds",
    "format",
    "flips",
    "copy_paste",
    "device",
)


def run(args: argparse.Namespace) -> None:
    if args.config is not None and Path(args.config).is_dir():
        if args.data_root is not None or args.auto_scale_lr:
            raise UserError(
                "--data-root and --auto-scale-lr work only with a config, not with a folder."
            )
        train_folder(args)
    else:
        given = [name for name in ONLY_FOLDERS if getattr(args, name) not in (None, "auto")]
        if given:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UserError(
                f"{named} works only with a folder. In a config, change the value itself, or use "
                "--cfg-options."
            )
        train_config(args, weights_of(args))


def train_config(args: argparse.Namespace, begin: str | None = None) -> None:
    """Train as a config says.

    Args:
        args: of the command line.
        begin: weights to begin from, in place of the config's ``load_from``.

    Raises:
        UserError: ``--auto-scale-lr`` with a config that has no ``base_batch_size``; what reading
            the config and building the runner find.
    """
    cfg = load_config(args)
    if begin is not None:
        begin_from(cfg, begin)
    if args.amp:
        enable_mixed_precision(cfg)
    if args.auto_scale_lr:
        if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
            raise UserError(
                "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in "
                f"{args.config}, the total batch size for which its learning rate was chosen."
            )
        cfg.auto_scale_lr.enable = True
    if args.resume == "auto":
        # load_from is where a run begins; once it has saved something, it goes on from that
        cfg.resume = cfg.get("load_from") is None or has_checkpoint(cfg.work_dir)
        cfg.load_from = None if cfg.resume else cfg.load_from
    elif args.resume is not None:
        cfg.resume, cfg.load_from = True, args.resume
    build_runner(cfg, needs="train").train()
