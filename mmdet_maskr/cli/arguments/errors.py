"""Say what a detector gets wrong: AP by class, errors by kind and cost, confused classes.

Errors are split as in TIDE (Bolya et al. 2020) into classification, localisation, both, duplicate,
background and missed, with the AP that fixing each would gain. Results are files of COCO results
(maskr test with test_evaluator.outfile_prefix, or MaskRInferencer with coco_json), several if
boxes, masks and keypoints lie apart, or what maskr test --out wrote.

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
        "--iou", type=float, default=FOREGROUND, help="least IoU or OKS of a hit (default: 0.5)"
    )
    parser.add_argument(
        "--background-iou", type=float, default=BACKGROUND,
        help="with a lower IoU, a detection is on background (default: 0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--score-thr", type=float, default=0.3,
        help="least score of a detection in the confusion matrix (default: %(default)s)",
    )  # fmt: skip
