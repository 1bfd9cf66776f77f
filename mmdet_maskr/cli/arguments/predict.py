"""Detect objects in photos, in a video, or with a camera.

Writes for each photo a picture with the detections, DIR/vis/NAME, and the predictions,
DIR/preds/NAME.json; for a video DIR/vis/NAME.mp4 and DIR/preds/NAME.json. Photos that cannot be
read are skipped and listed at the end; the exit code is 1 then.

A camera runs until Ctrl-C, or q in the window of --show. Frames that arrive too fast are dropped;
each of the others has a line in DIR/preds/NAME.jsonl. One that breaks off is opened again.

The folder that maskr export wrote is named before the photos, or by --weights. An exported model
takes one image at a time; --config, --optimize and --batch-size are for checkpoints.

Examples:
    %(prog)s photos/ --weights work_dirs/leaves/best.pth --out-dir found
    %(prog)s a.jpg 'more/*.png' https://example.com/b.jpg --weights model.pth --config config.py
    %(prog)s exported/ photos/ --score-thr 0.5
    %(prog)s street.mp4 --weights model.pth --score-thr 0.5 --optimize
    %(prog)s --camera 0 --weights model.pth --optimize --track --show
    %(prog)s --camera rtsp://user:password@10.0.0.7/stream --weights model.pth --out door.mp4
    %(prog)s photos/ --weights model.pth --write cvat --score-thr 0.5
    %(prog)s photos/ --weights model.pth --coco-json found.json --ann-file instances_val2017.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_maskr.cli.arguments.common import add_json, add_model_arguments, add_tile_arguments

OUTPUTS = ("boxes", "masks", "keypoints")
LABELS = ("labelme", "cvat", "label-studio", "coco", "yolo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument(
        "photos",
        nargs="*",
        metavar="PHOTOS",
        help="images, folders, patterns such as 'photos/**/*.jpg', URLs, or one video or stream "
        "(rtsp://...). Without --weights, the folder of an exported model comes first",
    )
    parser.add_argument(
        "--camera",
        metavar="N|ADDRESS",
        help="instead of photos: the number of a camera, 0 for the first, or the address of a "
        "stream (rtsp://, http://)",
    )
    parser.add_argument(
        "--reconnect",
        type=float,
        metavar="SECONDS",
        help="with --camera: how long to try to open one again that has broken off; 0 for never "
        "(default: 60)",
    )
    parser.add_argument(
        "--track",
        action="store_true",
        help="give objects of a video the same id in every frame; needs the package trackers",
    )
    add_model_arguments(parser, exported=True)
    add_tile_arguments(parser)
    parser.add_argument(
        "--out-dir",
        type=Path,
        default=Path("predictions"),
        metavar="DIR",
        help="folder to write to (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the drawn video as this file, .mp4 or .avi (default: DIR/vis/NAME.mp4)",
    )
    parser.add_argument(
        "--score-thr",
        "--pred-score-thr",
        type=float,
        default=0.3,
        metavar="S",
        help="score threshold: drop detections below it from pictures and files; use 0 to compute "
        "AP from the files (default: %(default)s)",
    )
    parser.add_argument(
        "--outputs",
        nargs="+",
        choices=OUTPUTS,
        help="what to write of each detection (default: all that the model predicts)",
    )
    parser.add_argument(
        "--coco-json", type=Path, metavar="FILE", help="write all detections as COCO results"
    )
    parser.add_argument(
        "--ann-file", type=Path, metavar="FILE", help="COCO file with the image and category ids"
    )
    parser.add_argument(
        "--write",
        nargs="+",
        choices=LABELS,
        default=[],
        metavar="TOOL",
        help=(
            "also write labels and photos to DIR/TOOL, to correct them in an annotation "
            "tool: %(choices)s. `maskr train` and `maskr convert` read this folder"
        ),
    )
    parser.add_argument(
        "--geojson",
        action="store_true",
        help=(
            "also write DIR/geojson/NAME.geojson for each GeoTIFF: outlines of masks in "
            "the image's coordinate system; needs the package rasterio"
        ),
    )
    parser.add_argument("--no-save-vis", action="store_true", help="do not write pictures")
    parser.add_argument("--no-save-pred", action="store_true", help="do not write DIR/preds")
    parser.add_argument(
        "--show",
        action="store_true",
        help="show pictures in a window, and videos while they run; needs a display",
    )
    add_json(parser, "a summary: images, failures, detections of each class, seconds, files")
