"""Cut large annotated images into overlapping crops, a COCO dataset to train on.

Polygons and run-length codes are clipped to the crop; keypoints outside of it become unlabeled. An
object that a crop shows little of becomes a crowd there, which is neither an example nor
background.

Examples:
    %(prog)s annotations/train.json images data/crops --tile 1024
    %(prog)s annotations/train.json images data/crops --tile 512 --overlap 0.25 --empty 0.3
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("ann_file", type=Path, help="COCO annotation file")
    parser.add_argument("images", type=Path, help="folder of its images")
    parser.add_argument("out", type=Path, help="folder to write annotations/ and the crops to")
    parser.add_argument(
        "--tile", type=int, required=True, metavar="PIXELS", help="side of the square crops"
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="overlap of neighboring crops, as a fraction of their side (default: 0.2)",
    )
    parser.add_argument(
        "--min-visible",
        type=float,
        default=0.25,
        metavar="SHARE",
        help=(
            "an object becomes a crowd in crops that show less than this fraction of "
            "its area (default: 0.25)"
        ),
    )
    parser.add_argument(
        "--empty",
        type=float,
        default=0.1,
        metavar="SHARE",
        help=(
            "crops without objects to keep, as a fraction of the crops with objects (default: 0.1)"
        ),
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the choice of empty crops (default: 0)"
    )
