"""Show the same images through several models side by side, in one HTML page or a live form.

The page works from a file and loads nothing. It has a threshold slider, layers to switch (boxes,
masks, keypoints, labels, ground truth), the differences between a model and another one or the
ground truth, and a table of parameters, GFLOPs, time an image and AP.

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
        help="config and checkpoint of each model, and perhaps a name (default: the config's); or "
        "a pretrained model, such as mask_rcnn_R_50_FPN_3x",
    )  # fmt: skip
    parser.add_argument(
        "--images", nargs="+", default=[], metavar="FILE|FOLDER", help="images, or folders of them"
    )
    parser.add_argument(
        "--ann", metavar="COCO_JSON", help="annotations of the images: ground truth, and AP"
    )
    parser.add_argument(
        "--max-images",
        type=int,
        default=20,
        help="take so many of the images, evenly spread (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("compare.html"), help="the page (default: %(default)s)"
    )
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: the first accelerator)")
    parser.add_argument(
        "--serve", action="store_true", help="serve a form that takes images (needs gradio)"
    )
    parser.add_argument("--host", default=HOST, help="address of --serve (default: %(default)s)")
    parser.add_argument("--port", type=int, help="of --serve (default: a free one from 7860 on)")
