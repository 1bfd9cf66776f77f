"""Write the annotated photos of a folder as a COCO dataset, whichever tool annotated them.

Reads COCO JSON in its dialects, YOLO, labelme, VGG VIA, CVAT XML, PASCAL VOC, Supervisely, Label
Studio, Labelbox, VoTT, Cityscapes and PNG masks. Photos may be anywhere below the folder. Writes
OUT/annotations/instances_{train,val,test}.json and OUT/images. Splits that the folder has are kept;
otherwise a fifth of the photos validates. Says what was assumed, repaired or left out, with counts.

Examples:
    python tools/convert_dataset.py ~/photos data/leaves
    python tools/convert_dataset.py ~/export data/leaves --format coco --val-share 0.1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmdet_maskr.datasets.formats import FORMATS, read_folder
from mmdet_maskr.datasets.formats.splits import VAL_SHARE, assign_splits, leaks
from mmdet_maskr.datasets.formats.write import write_folder
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.errors import UserError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="photos and annotations, or an annotation file")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--format", choices=FORMATS, help="where the folder has several")
    parser.add_argument(
        "--val-share", type=float, default=VAL_SHARE, help="where it has no split (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (%(default)s)")
    return parser.parse_args(argv)


def show_progress(done: int, total: int) -> None:
    if done == total or done % 500 == 0:
        print(f"{done}/{total} images", file=sys.stderr, flush=True)


def main() -> None:
    args = parse_args()
    if not 0 < args.val_share < 1:
        raise UserError(f"--val-share {args.val_share} must be between 0 and 1.")
    if args.out.resolve() == args.folder.resolve():
        raise UserError(f"{args.out} is the input: name another folder.")
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
        print(f"WARNING: {other} is the same photo as {train}, which trains.", file=sys.stderr)
    for part in written:
        print(f"{part.path}: {part.images} images, {part.annotations} annotations")


if __name__ == "__main__":
    run_tool(main)
