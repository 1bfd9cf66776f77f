"""Test a checkpoint: AP, pictures, predictions. Takes the options of mmdet's tools/test.py.

Examples:
    python tools/test.py configs/maskr_r50_fpn_1x.py work_dirs/maskr_r50_fpn_1x/epoch_12.pth
    python tools/test.py CONFIG CHECKPOINT --show-dir pictures --out predictions.pkl
    python tools/test.py CONFIG CHECKPOINT --tta --tta-scales 0.75 1 1.25
    python tools/test.py CONFIG CHECKPOINT --optimize
    bash tools/dist_test.sh CONFIG CHECKPOINT 8
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Before torch is loaded: OpenMP's threads that spin for long slow one another on a busy machine.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults

from mmdet_maskr.deploy.hook import OptimizeHook
from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.engine.options import add_common_arguments, load_config
from mmdet_maskr.engine.tta_config import enable_tta
from mmdet_maskr.errors import UserError, no_file


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="path of the config")
    parser.add_argument("checkpoint", help="path or URL of the checkpoint")
    add_common_arguments(parser)
    parser.add_argument("--out", metavar="FILE.pkl", help="write the predictions to this file")
    parser.add_argument(
        "--show", action="store_true", help="show each image with its predictions in a window"
    )
    parser.add_argument(
        "--show-dir",
        metavar="NAME",
        help="write pictures of ground truth beside predictions to WORK_DIR/TIMESTAMP/NAME",
    )
    parser.add_argument(
        "--wait-time",
        type=float,
        default=2,
        metavar="SECONDS",
        help="how long --show shows a picture (default: 2)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation of boxes, masks and keypoints: each image is also seen "
        "flipped (or as tta_pipeline of the config says), and the results are averaged",
    )
    parser.add_argument(
        "--tta-scales",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="S",
        help="with --tta: see each image in these sizes, as factors of the test size (default: 1)",
    )
    parser.add_argument(
        "--optimize",
        action="store_true",
        help="test a fast inference form of the model (mmdet_maskr.deploy.optimize): the same "
        "results but for rounding",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="with --optimize: also torch.compile its parts, which costs up to minutes at first",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.out is not None and not args.out.endswith((".pkl", ".pickle")):
        raise UserError(f"--out {args.out}: the name must end in .pkl or .pickle.")
    if "://" not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise no_file("checkpoint", args.checkpoint)
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        trigger_visualization_hook(cfg, args)
    if args.tta:
        enable_tta(cfg, args.tta_scales)
    elif args.tta_scales != [1.0]:
        raise UserError("--tta-scales does nothing without --tta.")
    if args.compile and not args.optimize:
        raise UserError("--compile does nothing without --optimize.")
    runner = build_runner(cfg, needs="test")
    if args.optimize:
        runner.register_hook(OptimizeHook(compile=args.compile))
    if args.out is not None:
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    runner.test()


if __name__ == "__main__":
    run_tool(main)
