"""Write a report about a trained model: one HTML file of at most 8 MB that you can mail.

It has the data, training curves, AP by class and size, the best score thresholds, the kinds of
errors, the worst images, labels that may be wrong, and the speed. The model runs on the test data
of its config, unless --detections names its results.

Examples:
    %(prog)s work_dirs/pets
    %(prog)s work_dirs/pets --checkpoint work_dirs/pets/epoch_9.pth --out pets.html
    %(prog)s work_dirs/pets --detections predictions.pkl     # of maskr test --out
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("work_dir", type=Path, help="work dir of the training")
    parser.add_argument("--config", type=Path, help="config (default: the newest in WORK_DIR)")
    parser.add_argument(
        "--checkpoint", type=Path, help="checkpoint (default: the best in WORK_DIR, or its last)"
    )
    parser.add_argument(
        "--detections", nargs="+", type=Path, default=[], metavar="FILE",
        help="COCO results, or predictions of maskr test --out, instead of running the model",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, help="HTML file to write (default: WORK_DIR/report.html)"
    )
    parser.add_argument("--title", help="title of the page (default: the name of the config)")
    parser.add_argument("--device", help="where to run (default: the first GPU, or the CPU)")
