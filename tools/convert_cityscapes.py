"""Write Cityscapes' instances as COCO annotation files, which training and testing read.

ROOT holds gtFine/ and leftImg8bit/, as the archives of cityscapes-dataset.com unpack. The files are
ROOT/annotations/instancesonly_filtered_gtFine_{train,val}.json, as MMDetection's converter names
them; its files serve as well.

Example:
    python tools/convert_cityscapes.py data/cityscapes
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmdet_maskr.datasets.cityscapes import convert
from mmdet_maskr.engine.launch import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder of the dataset")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val"],
        choices=["train", "val"],
        help="which splits (default: both)",
    )
    return parser.parse_args()


def show_progress(done: int, total: int) -> None:
    if done == total or done % 50 == 0:
        print(f"\r{done}/{total} images", end="\n" if done == total else "", file=sys.stderr)


def main() -> None:
    args = parse_args()
    for split in args.splits:
        path, images, annotations = convert(args.root, split, show_progress)
        print(f"{path}: {images} images, {annotations} annotations")


if __name__ == "__main__":
    run_tool(main)
