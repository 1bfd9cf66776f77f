"""Train a model. Takes the options of mmdet's tools/train.py, and --data-root.

Examples:
    %(prog)s configs/maskr_r50_fpn_1x.py
    %(prog)s configs/mini/maskr_coco_mini.py --data-root data/coco --amp
    bash tools/dist_train.sh configs/maskr_r50_fpn_1x.py 8 --auto-scale-lr
"""

from __future__ import annotations

import argparse

from mmdet_maskr.cli.arguments.common import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument(
        "config", metavar="CONFIG|FOLDER", help="config, or a folder of photos and annotations"
    )
    add_config_arguments(parser)
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
