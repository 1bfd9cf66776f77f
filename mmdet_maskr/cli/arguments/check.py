"""Check a COCO dataset, or the folder of an annotation tool, before you train on it.

Prints a table of problems: code, count, first entries. Errors crash a training or teach it
something wrong; notes are worth a look. docs/checks.md says for each code what to do. Exit code 0:
no errors; 1: errors; 2: wrong use.

A folder is read as `maskr train FOLDER` reads it. The output also has its format, splits, classes
and assumptions, and the photos that are in two splits.

Examples:
    %(prog)s my_photos
    %(prog)s data/coco/annotations/instances_train2017.json data/coco/train2017
    %(prog)s pets.json photos --config my_config.py --fix clean/pets.json
    %(prog)s crowns.json tiffs --bands
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
        "images",
        type=Path,
        nargs="?",
        help="image folder of FILE; without it, images are not opened",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="annotation format, if FOLDER has several"
    )
    parser.add_argument(
        "--bands",
        action="store_true",
        help=(
            "load all bands and bits of the images, and print the mean and standard "
            "deviation of each band"
        ),
    )
    parser.add_argument("--keypoints", action="store_true", help="check keypoints too")
    parser.add_argument(
        "--config",
        help=(
            "compare the file's classes with those of this config's training dataset; "
            "also take the number of keypoints from it, if the file's categories have "
            "no keypoint names"
        ),
    )
    parser.add_argument(
        "--fix",
        type=Path,
        metavar="OUT",
        help=(
            "write a copy without the errors to OUT, and a log of the changes to "
            "OUT.log; the input does not change"
        ),
    )
    parser.add_argument(
        "--first",
        type=int,
        default=5,
        help="number of examples to print for each problem (default: 5)",
    )
    add_json(parser, "code, count, meaning, remedy and first entries of each problem")
