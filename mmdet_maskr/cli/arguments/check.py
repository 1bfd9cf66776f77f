"""Check a COCO dataset, or a folder of any annotation tool, before it costs a training.

Prints a table of what is wrong, with counts and the first entries: errors, which crash a training
or teach it something wrong, and notes. Exit code 0 without errors, 1 with errors, 2 for wrong use.

A folder is read as `maskr train FOLDER` reads it: the format, the splits, the classes with their
counts, what was assumed, photos that both train and validate, and the problems of each split.

Examples:
    %(prog)s my_photos
    %(prog)s data/coco/annotations/instances_train2017.json data/coco/train2017
    %(prog)s pets.json photos --config my_config.py --fix clean/pets.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_maskr.cli.arguments.common import add_json
from mmdet_maskr.cli.arguments.convert import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument(
        "annotations",
        type=Path,
        metavar="FILE|FOLDER",
        help="COCO instance or keypoint file, or a folder of photos and annotations",
    )
    parser.add_argument(
        "images", type=Path, nargs="?", help="image folder of FILE; without it no image is opened"
    )
    parser.add_argument("--format", choices=FORMATS, help="of FOLDER, where it has several")
    parser.add_argument("--keypoints", action="store_true", help="look at keypoints, too")
    parser.add_argument(
        "--config",
        help="compare the file's classes with the training dataset of this config, and take the "
        "number of keypoints from it where the file's categories name none",
    )
    parser.add_argument(
        "--fix",
        type=Path,
        metavar="OUT",
        help="write a copy without the errors to OUT, and each change to OUT.log; the input is "
        "not touched",
    )
    parser.add_argument(
        "--first", type=int, default=5, help="examples shown of each kind (default: 5)"
    )
    add_json(parser, "counts, meaning and first entries of each kind of problem")
