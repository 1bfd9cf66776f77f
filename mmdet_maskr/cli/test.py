"""``maskr test``: compute the AP of a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmengine.config import Config
from mmengine.hooks import Hook

from mmdet_maskr.apis.tiled_test import tiles_hook
from mmdet_maskr.cli.output import only_json, print_json
from mmdet_maskr.deploy.hook import OptimizeHook
from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.options import load_config, weights_of
from mmdet_maskr.engine.tta_config import enable_tta
from mmdet_maskr.errors import UserError, no_file
from mmdet_maskr.inference.tiles.grid import OVERLAP


def run(args: argparse.Namespace) -> None:
    if args.out is not None and not args.out.endswith((".pkl", ".pickle")):
        raise UserError(f"--out {args.out}: the name must end in .pkl or .pickle.")
    args.checkpoint = weights_of(args, args.checkpoint)
    if args.checkpoint is None:
        raise UserError("pass a checkpoint, or a pretrained model with --weights NAME.")
    if "://" not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise no_file("checkpoint", args.checkpoint)
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        trigger_visualization_hook(cfg, args)
    if args.tta:
        enable_tta(cfg, args.tta_scales)
    elif args.tta_scales != [1.0]:
        raise UserError("--tta-scales has an effect only with --tta.")
    if args.compile and not args.optimize:
        raise UserError("--compile has an effect only with --optimize.")
    tiles = None
    if args.tile is not None:
        tiles = tiles_hook(cfg, args.tile, OVERLAP if args.overlap is None else args.overlap)
    elif args.overlap is not None:
        raise UserError("--overlap has an effect only with --tile.")
    with only_json(args.json):
        scores = score(cfg, args, tiles)
    if args.json:
        print_json(scores)


def score(cfg: Config, args: argparse.Namespace, tiles: Hook | None) -> dict[str, float]:
    """Test, and give the scores by name."""
    runner = build_runner(cfg, needs="test")
    if tiles is not None:
        runner.register_hook(tiles)
    if args.optimize:
        runner.register_hook(OptimizeHook(compile=args.compile))
    if args.out is not None:
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    return runner.test()
