"""Say which photos to annotate next, for a model that has been trained on some.

Takes photos that the model is unsure of (detections with scores near 0.5, or none) and that look
unlike those before them, by the model's own features. Of photos that are alike, such as the frames
of a scene, one is taken before another is taken twice. The same call gives the same photos.

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
        "--count", type=int, default=50, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write their paths, one a line")
    add_json(parser, "paths and uncertainties")
