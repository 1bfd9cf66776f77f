"""Train a model. Takes the options of mmdet's tools/train.py, and --data-root.

Examples:
    python tools/train.py configs/maskr_r50_fpn_1x.py
    python tools/train.py configs/mini/maskr_coco_mini.py --data-root data/coco --amp
    bash tools/dist_train.sh configs/maskr_r50_fpn_1x.py 8 --auto-scale-lr
"""

from __future__ import annotations

import argparse
import os

# Before torch is loaded: OpenMP's threads that spin for long slow one another on a busy machine.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from mmdet_maskr.engine.building import build_runner, enable_mixed_precision
from mmdet_maskr.engine.durable_files import has_checkpoint
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.engine.options import add_common_arguments, load_config
from mmdet_maskr.errors import UserError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="path of the config")
    add_common_arguments(parser)
    parser.add_argument(
        "--amp",
        action="store_true",
        help="train in mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate with the total batch size, from the config's "
        "auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from this checkpoint; without a path from the newest one in the work dir",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
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


if __name__ == "__main__":
    run_tool(main)
