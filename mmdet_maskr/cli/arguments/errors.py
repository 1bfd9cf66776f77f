"""Analyze the errors of a detector: AP by class, errors by kind and cost, confused classes.

The kinds are those of TIDE (Bolya et al. 2020): classification, localization, both, duplicate,
background and missed, each with the AP that fixing it would gain. Results are COCO results (of
maskr predict --coco-json, or of maskr test with test_evaluator.outfile_prefix, which writes boxes,
masks and keypoints to a file each), or the predictions of maskr test --out.

Examples:
    %(prog)s data/coco/annotations/instances_val2017.json found.json
    %(prog)s CONFIG predictions.pkl --out-dir errors
    %(prog)s CONFIG test.bbox.json test.segm.json test.keypoints.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

FOREGROUND, BACKGROUND = 0.5, 0.1  # TIDE's t_f and t_b


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("truth", metavar="CONFIG|ANN", help="config, or COCO annotation file")
    parser.add_argument("results", nargs="+", help="COCO results (.json), or predictions (.pkl)")
    parser.add_argument("--data-root", help="folder of the dataset (default: the config's)")
    parser.add_argument(
        "--out-dir",
        type=Path,
        help="folder for errors.json, errors.txt and errors.png (default: errors, next to the "
        "first results)",
    )
    parser.add_argument(
        "--iou",
        type=float,
        default=FOREGROUND,
        help="lowest IoU or OKS of a true positive (default: 0.5)",
    )
    parser.add_argument(
        "--background-iou", type=float, default=BACKGROUND,
        help="below this IoU a detection counts as background (default: 0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--score-thr", type=float, default=0.3,
        help="score threshold of the confusion matrix (default: %(default)s)",
    )  # fmt: skip
