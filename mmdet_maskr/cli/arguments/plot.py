"""Plot the logs of one or several trainings: losses, AP, learning rate, time.

Examples:
    %(prog)s work_dirs/maskr_r50_fpn_1x --out curves.png
    %(prog)s work_dirs/A work_dirs/B --keys loss 'loss_*' 'coco/*_mAP' --smooth 20
    %(prog)s work_dirs/A --list
"""

from __future__ import annotations

import argparse
from pathlib import Path

USUAL = ("loss", "loss_*", "coco/*_mAP")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("logs", nargs="+", type=Path, help="work dirs, or scalars.json files")
    parser.add_argument(
        "--keys", nargs="+", metavar="KEY",
        help="names or patterns of the values to draw, one panel each; --list prints "
        f"them (default: what was logged of {' '.join(USUAL)})",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("curves.png"),
                        help="picture to write (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--labels", nargs="+", help="names of the runs in the picture (default: their folders)"
    )
    parser.add_argument(
        "--smooth", type=int, default=1, help="average over this many logged values (default: 1)"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the logged values")
