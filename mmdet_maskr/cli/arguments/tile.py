"""Cut large annotated images into overlapping crops, a COCO dataset to train on.

Polygons are clipped, run-length codes cut; keypoints outside of a crop are not labeled there. An
object of which a crop shows little is a crowd there, neither an example nor background.

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
        help="of neighboring crops, as a share of their side (default: 0.2)",
    )
    parser.add_argument(
        "--min-visible",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="an object of which a crop shows a smaller share of its area is a crowd there "
        "(default: 0.25)",
    )
    parser.add_argument(
        "--empty",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="crops without objects to keep, as a share of those with some (default: 0.1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice among them (default: 0)")
