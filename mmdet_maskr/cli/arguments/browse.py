"""Draw the training images of a config as the model sees them, with boxes, masks and keypoints.

Examples:
    %(prog)s configs/mini/maskr_shapes.py --out-dir browse
    %(prog)s CONFIG --mode pipeline --number 4    # transform by transform
    %(prog)s CONFIG --split val --mode original --show
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_maskr.cli.arguments.common import add_cfg_options

MODES = ("transformed", "original", "pipeline")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("config", help="path of the config")
    parser.add_argument(
        "--out-dir", type=Path, default=Path("browse"),
        help="folder to write to: one picture per image, and sheet.png with all of them "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--number",
        type=int,
        default=12,
        help="number of images, evenly spread over the dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--mode", choices=MODES, default=MODES[0],
        help="transformed: the output of the pipeline, as training sees it (default); "
        "original: the images as they are; pipeline: a picture after each transform "
        "that changes something",
    )  # fmt: skip
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="train",
        help="split to draw (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--data-root", help="folder of the dataset (default: the config's)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of random transforms (default: 0)"
    )
    parser.add_argument(
        "--show", action="store_true",
        help="also show each picture in a window; press space for the next one",
    )  # fmt: skip
    add_cfg_options(parser)
