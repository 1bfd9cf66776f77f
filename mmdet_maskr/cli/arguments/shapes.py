"""Write the synthetic SHAPES dataset (COCO format: boxes, masks, crowds, keypoints).

classes:    disc, box, triangle, ring, bar, figure
keypoints:  (figure only) head, left_elbow, right_elbow, left_hand, right_hand, left_knee,
            right_knee, left_foot, right_foot

writes:     OUT/annotations/instances_train.json, instances_val.json
            OUT/train/000001.png ..., OUT/val/000001.png ...
            OUT/shapes.json, the settings

An image depends on seed, split, number and size only. The same command resumes an interrupted run.

Example:
    %(prog)s data/shapes
"""

from __future__ import annotations

import argparse
from pathlib import Path

SIZE_RANGE = (64, 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument(
        "out", type=Path, help="folder to write to: new, empty, or an earlier result"
    )
    parser.add_argument("--images", type=int, default=800, help="training images (default: 800)")
    parser.add_argument(
        "--val-images", type=int, default=200, help="validation images (default: 200)"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=160,
        help=f"image side in pixels, {SIZE_RANGE[0]} to {SIZE_RANGE[1]} (default: 160)",
    )
    parser.add_argument(
        "--bands",
        type=int,
        default=3,
        help="bands of the images, 1 to 16; other than 3 are TIFFs of 16 bits (default: 3)",
    )
    parser.add_argument(
        "--mosaics",
        type=int,
        metavar="K",
        help="also write large images, K x K validation images each, as the split 'mosaic'",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the whole set (default: 0)")
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite a SHAPES dataset with other settings",
    )
