"""``maskr tile``: a dataset of large images becomes one of crops."""

from __future__ import annotations

import argparse

import numpy as np

from mmdet_maskr.datasets.crops import Cutting, cut_dataset
from mmdet_maskr.inference.tiles.grid import LEAST_TILE, check_tiling
from mmdet_maskr.progress import bar

SMALL, LARGE = 8.0, 0.5  # pixels, and share of a crop's side


def run(args: argparse.Namespace) -> None:
    tiling = check_tiling(args.tile, args.overlap, None, LEAST_TILE)
    cutting = Cutting(tiling, args.min_visible, args.empty, args.seed)
    with bar("Images", None) as advance:
        report = cut_dataset(
            args.ann_file, args.images, args.out, cutting, lambda done, total: advance(1)
        )
    print(
        f"{report.path}: {report.crops + report.empty} crops, {report.empty} of them "
        f"without objects ({report.left_out} more were left out),  {report.objects} "
        f"objects, {report.crowds} crowds."
    )
    low, middle, high = np.percentile(report.sides, [5, 50, 95])
    print(f"Median object size: {middle:.0f} pixels (5 % below {low:.0f}, 5 % above {high:.0f}).")
    if middle < SMALL:
        print(
            f"WARNING: most objects are smaller than {SMALL:.0f} pixels: enlarge the images first."
        )
    elif high > LARGE * args.tile:
        print(f"WARNING: many objects fill half a crop of {args.tile}: use a larger --tile.")
