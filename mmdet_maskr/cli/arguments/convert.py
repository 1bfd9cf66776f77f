"""Convert a folder of annotated photos to a COCO dataset.

Reads COCO JSON, YOLO, labelme, VGG VIA, CVAT XML, PASCAL VOC, Supervisely, Label Studio, Labelbox,
VoTT, Datumaro, CreateML, CSV files of boxes, Cityscapes and PNG or TIFF masks. Photos may be
anywhere below the folder. Writes OUT/annotations/instances_{train,val,test}.json and OUT/images. It
keeps the folder's splits; without any, a fifth of the photos becomes the validation set. It prints
what it assumed, repaired or left out, with counts.

Examples:
    %(prog)s ~/photos data/leaves
    %(prog)s ~/export data/leaves --format coco --val-share 0.1
"""

from __future__ import annotations

import argparse
from pathlib import Path

FORMATS = (
    *("coco", "yolo", "labelme", "via", "cvat", "voc", "supervisely", "label-studio"),
    *("labelbox", "vott", "datumaro", "createml", "csv", "cityscapes", "png"),
)
VAL_SHARE = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("folder", type=Path, help="photos and annotations, or an annotation file")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument(
        "--format", choices=FORMATS, help="annotation format, if the folder has several"
    )
    parser.add_argument(
        "--val-share",
        type=float,
        default=VAL_SHARE,
        help="fraction of photos for validation, if the folder has no split (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (%(default)s)")
