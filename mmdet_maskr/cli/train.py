"""``maskr train``: train a config."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_maskr.engine.building import build_runner, enable_mixed_precision
from mmdet_maskr.engine.durable_files import has_checkpoint
from mmdet_maskr.engine.options import load_config
from mmdet_maskr.errors import UserError


def run(args: argparse.Namespace) -> None:
    if Path(args.config).is_dir():
        train_folder(args)
    else:
        train_config(args)


def train_folder(args: argparse.Namespace) -> None:
    """Write the config that fits a folder of annotated photos, and train it."""
    raise UserError(
        f"{args.config} is a folder: name a config, or write the folder as a COCO dataset with "
        f"`maskr convert {args.config} OUT`."
    )


def train_config(args: argparse.Namespace) -> None:
    """Train as a config says."""
    cfg = load_config(args)
    if args.amp:
        enable_mixed_precision(cfg)
    if args.auto_scale_lr:
        if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
            raise UserError(
                f"--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in {args.config}: "
                "the total batch size that its learning rate is meant for."
            )
        cfg.auto_scale_lr.enable = True
    if args.resume == "auto":
        # load_from is where a run begins; once it has saved something, it goes on from that
        cfg.resume = cfg.get("load_from") is None or has_checkpoint(cfg.work_dir)
        cfg.load_from = None if cfg.resume else cfg.load_from
    elif args.resume is not None:
        cfg.resume, cfg.load_from = True, args.resume
    build_runner(cfg, needs="train").train()
