"""Suggest which photos to annotate next, with a model that was trained on some of them.

Prefers photos that the model is unsure of (scores near 0.5, or no detections) and that differ from
the photos suggested so far, by the model's own features. Of similar photos, such as the frames of
a scene, it takes one first. The same call gives the same photos.

Examples:
    %(prog)s photos/ --weights work_dirs/leaves/best.pth --count 50 --out next.txt
    maskr predict $(cat next.txt) --weights work_dirs/leaves/best.pth --write cvat
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_maskr.cli.arguments.common import add_json, add_model_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument(
        "photos", nargs="+", metavar="PHOTOS", help="images, folders, or patterns such as '*/*.jpg'"
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--count", type=int, default=50, metavar="N", help="number of photos (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the paths to FILE, one per line"
    )
    add_json(parser, "paths and uncertainties")
