"""Compute the losses of a bad batch again: one that a training saved because of NaN or infinity.

Example:
    %(prog)s CONFIG work_dirs/run/bad_batch_iter_123_rank_0.pth
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("config", help="path of the config that was trained")
    parser.add_argument("batch", help="bad_batch_iter_N_rank_R.pth of the work dir")
    parser.add_argument("--device", default="cpu", help="where to run (default: %(default)s)")
    parser.add_argument(
        "--detect-anomaly",
        action="store_true",
        help="also compute gradients, and stop with a traceback at the operation that fails",
    )
