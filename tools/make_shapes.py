"""Write the synthetic SHAPES data set (COCO format: boxes, masks, crowds, keypoints)."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from mmdet_maskr.datasets import shapes


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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    low, high = shapes.SIZE_RANGE
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""\
classes:    {", ".join(shapes.CLASSES)}
keypoints:  (figure only) {", ".join(shapes.KEYPOINTS)}

writes:     OUT/annotations/instances_train.json, instances_val.json
            OUT/train/000001.png ..., OUT/val/000001.png ...
            OUT/shapes.json, the settings

An image depends on seed, split, number and size only. An interrupted run goes on
where it stopped when started again with the same settings.

example:    python tools/make_shapes.py data/shapes""",
    )
    parser.add_argument("out", type=Path, help="folder to write; new, empty, or an earlier result")
    parser.add_argument("--images", type=int, default=800, help="training images (default: 800)")
    parser.add_argument(
        "--val-images", type=int, default=200, help="validation images (default: 200)"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=160,
        help=f"image side in pixels, {low} to {high} (default: 160)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the whole set (default: 0)")
    parser.add_argument(
        "--force",
        action="store_true",
        help="rewrite OUT although it is a SHAPES data set with other settings",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    print(
        f"writing {args.images} + {args.val_images} images of {args.size} x {args.size} pixels "
        f"to {args.out}"
    )
    try:
        out = shapes.write_dataset(
            args.out, args.images, args.val_images, args.size, args.seed, Progress(), args.force
        )
    except (ValueError, OSError) as error:
        print(f"make_shapes: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nmake_shapes: stopped; the same command without --force goes on", file=sys.stderr)
        return 130
    for split in shapes.SPLITS:
        path = out / "annotations" / f"instances_{split}.json"
        found = json.loads(path.read_text())["annotations"]
        count = Counter(a["category_id"] for a in found if not a["iscrowd"])
        listed = ", ".join(f"{name} {count[k]}" for k, name in enumerate(shapes.CLASSES, 1))
        crowds = sum(a["iscrowd"] for a in found)
        print(f"{split}: {sum(count.values())} objects ({listed}), {crowds} crowds: {path}")
    print(f"done: {out.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
