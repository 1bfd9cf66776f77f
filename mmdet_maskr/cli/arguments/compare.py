"""Compare models on the same images, side by side in one HTML page or a web form.

The page opens from a file and needs no network. It has a slider for the score threshold; switches
for boxes, masks, keypoints, labels and ground truth; the differences to another model or to the
ground truth; and a table of parameters, GFLOPs, time per image and AP.

Examples:
    %(prog)s --models A.py:a.pth better=B.py:b.pth --images photos --out compare.html
    %(prog)s --models A.py:a.pth B.py:b.pth --images data/shapes/val \\
        --ann data/shapes/annotations/instances_val.json --max-images 20
    %(prog)s --models A.py:a.pth B.py:b.pth --serve --port 7860
"""

from __future__ import annotations

import argparse
from pathlib import Path

HOST = "127.0.0.1"  # this machine alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument(
        "--models", nargs="+", required=True, metavar="[NAME=]CONFIG:WEIGHTS|MODEL",
        help="config and checkpoint of each model, with an optional name (default: the config's); "
        "or a pretrained model, such as mask_rcnn_R_50_FPN_3x",
    )  # fmt: skip
    parser.add_argument(
        "--images", nargs="+", default=[], metavar="FILE|FOLDER", help="images, or folders of them"
    )
    parser.add_argument(
        "--ann",
        metavar="COCO_JSON",
        help="COCO annotations of the images: adds ground truth and AP",
    )
    parser.add_argument(
        "--max-images",
        type=int,
        default=20,
        help="show at most this many images, evenly spread (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("compare.html"),
        help="HTML file to write (default: %(default)s)",
    )
    parser.add_argument(
        "--device", help="where to run, such as cpu or cuda:1 (default: first accelerator)"
    )
    parser.add_argument(
        "--serve", action="store_true", help="start a web form that takes images (needs gradio)"
    )
    parser.add_argument("--host", default=HOST, help="address of --serve (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, help="port of --serve (default: the first free one from 7860)"
    )
