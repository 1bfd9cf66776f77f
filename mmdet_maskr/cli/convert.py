"""``maskr convert``: a folder of any annotation tool becomes a COCO dataset."""

from __future__ import annotations

import argparse
import sys

from mmdet_maskr.datasets.formats import read_folder
from mmdet_maskr.datasets.formats.splits import assign_splits, leaks
from mmdet_maskr.datasets.formats.write import write_folder
from mmdet_maskr.errors import UserError


def show_progress(done: int, total: int) -> None:
    """Print how many of all images are done to stderr, every 500 images and at the end."""
    if done == total or done % 500 == 0:
        print(f"{done}/{total} images", file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> None:
    if not 0 < args.val_share < 1:
        raise UserError(f"--val-share {args.val_share} must be between 0 and 1.")
    if args.out.resolve() == args.folder.resolve():
        raise UserError(f"{args.out} is the input folder: choose another folder.")
    collection = read_folder(args.folder, args.format)
    assign_splits(collection, args.val_share, args.seed)
    written = write_folder(collection, args.out, show_progress)
    objects = sum(len(photo.objects) for photo in collection.photos)
    print(
        f"{args.folder}: {collection.format}, {len(collection.photos)} images, {objects} objects "
        f"of {len(collection.classes)} classes: {', '.join(collection.classes[:20])}"
    )
    for what, count in collection.assumed.most_common():
        print(f"  {count} {what}")
    for train, other in leaks(collection.photos):
        print(
            f"WARNING: {other} is the same photo as {train} of the training split.",
            file=sys.stderr,
        )
    for part in written:
        print(f"{part.path}: {part.images} images, {part.annotations} annotations")
