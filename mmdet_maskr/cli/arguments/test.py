"""Test a checkpoint: compute AP, write pictures and predictions.

The options are those of mmdet's tools/test.py, and --data-root.

Examples:
    %(prog)s configs/maskr_r50_fpn_1x.py work_dirs/maskr_r50_fpn_1x/epoch_12.pth
    %(prog)s CONFIG CHECKPOINT --show-dir pictures --out predictions.pkl
    %(prog)s CONFIG CHECKPOINT --tta --tta-scales 0.75 1 1.25
    %(prog)s CONFIG CHECKPOINT --tile 1024
    %(prog)s CONFIG CHECKPOINT --optimize
    %(prog)s --weights mask_rcnn_R_50_FPN_3x --data-root data/coco
    bash tools/dist_test.sh CONFIG CHECKPOINT 8
"""

from __future__ import annotations

import argparse

from mmdet_maskr.cli.arguments.common import (
    add_config_arguments,
    add_json,
    add_tile_arguments,
    add_weights,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("config", nargs="?", help="path of the config")
    parser.add_argument("checkpoint", nargs="?", help="path or URL of the checkpoint")
    add_weights(parser, "It replaces CHECKPOINT. Without CONFIG, its own config is tested")
    add_config_arguments(parser)
    parser.add_argument("--out", metavar="FILE.pkl", help="write the predictions to this file")
    parser.add_argument(
        "--show", action="store_true", help="show each image with its predictions in a window"
    )
    parser.add_argument(
        "--show-dir",
        metavar="NAME",
        help="write pictures of ground truth next to predictions to WORK_DIR/TIMESTAMP/NAME",
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
        help=(
            "test-time augmentation of boxes, masks and keypoints: detect on each image "
            "and its flipped copy (or as tta_pipeline in the config says), and merge "
            "the results"
        ),
    )
    parser.add_argument(
        "--tta-scales",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="S",
        help="with --tta: detect at these scales of the test size (default: 1)",
    )
    add_tile_arguments(parser)
    parser.add_argument(
        "--optimize",
        action="store_true",
        help=(
            "test a faster form of the model (mmdet_maskr.deploy.optimize); results "
            "differ only by rounding"
        ),
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="with --optimize: also use torch.compile; the first image then takes up to minutes",
    )
    add_json(parser, "the scores (AP from 0 to 1)")
