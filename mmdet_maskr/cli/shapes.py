"""``maskr shapes``: write the synthetic dataset."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from mmdet_maskr.datasets import shapes
from mmdet_maskr.errors import UserError


class Progress:
    """A bar on a terminal; a line for every tenth elsewhere."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.last = 0

    def __call__(self, done: int, total: int) -> None:
        elapsed = time.monotonic() - self.start
        left = elapsed / done * (total - done)
        text = f"{done}/{total} images, {elapsed:.0f} s, {left:.0f} s left"
        if sys.stdout.isatty():
            filled = 30 * done // total
            print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {text} ", end="", flush=True)
            if done == total:
                print()
        elif 10 * done // total > self.last:
            self.last = 10 * done // total
            print(text, flush=True)


def run(args: argparse.Namespace) -> None:
    print(
        f"writing {args.images} + {args.val_images} images of {args.size} x {args.size} pixels "
        f"to {args.out}"
    )
    try:
        out = shapes.write_dataset(
            args.out,
            args.images,
            args.val_images,
            args.size,
            args.seed,
            Progress(),
            args.force,
            args.bands,
        )
        if args.mosaics is not None:
            print(f"mosaics: {shapes.write_mosaics(out, args.mosaics)}")
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    for split in shapes.SPLITS:
        path = out / "annotations" / f"instances_{split}.json"
        found = json.loads(path.read_text())["annotations"]
        count = Counter(a["category_id"] for a in found if not a["iscrowd"])
        listed = ", ".join(f"{name} {count[k]}" for k, name in enumerate(shapes.CLASSES, 1))
        crowds = sum(a["iscrowd"] for a in found)
        print(f"{split}: {sum(count.values())} objects ({listed}), {crowds} crowds: {path}")
    print(f"done: {out.resolve()}")
