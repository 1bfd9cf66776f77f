"""Export a detector to ONNX, TorchScript or OpenVINO, and compare the file with PyTorch.

Writes OUT/model.onnx, OUT/model.pt or OUT/model.xml with OUT/model.bin, and OUT/metadata.json.
The graph takes an image of any size and gives boxes, scores, labels, mask probabilities and
heatmaps of the detections, NMS included; it has standard operators only. Exit code 1 where the
predictions are too far from PyTorch's.

    from mmdet_maskr.deploy import load    # needs neither mmdet nor mmcv
    load('OUT')('photo.jpg')['predictions'][0]

Examples:
    %(prog)s configs/maskr_r50_fpn_1x.py epoch_12.pth out --format onnx
    %(prog)s CONFIG CHECKPOINT out --format openvino --int8 --calibration photos/
    %(prog)s --weights mask_rcnn_R_50_FPN_3x out
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_maskr.cli.arguments.common import add_weights

FORMATS = ("onnx", "torchscript", "openvino")
DEFAULT_OPSET = 17
CHECKED = 4  # images, unless --images names them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument(
        "config", nargs="?", help="config of the model; its test pipeline is exported too"
    )
    parser.add_argument("checkpoint", nargs="?", help="its weights")
    parser.add_argument("out", nargs="?", type=Path, help="folder of the exported model")
    add_weights(parser, "in place of CONFIG and CHECKPOINT")
    parser.add_argument(
        "--format", choices=FORMATS, default="onnx", help="of the file (default: %(default)s)"
    )
    parser.add_argument(
        "--opset",
        type=int,
        default=DEFAULT_OPSET,
        help="version of ONNX's operators (default: %(default)s)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="images or a folder on which file and PyTorch are compared (default: the first "
        f"{CHECKED} of --calibration, or noise)",
    )
    parser.add_argument(
        "--int8", action="store_true", help="quantize to 8 bits (--format openvino)"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FOLDER", help="typical images, for --int8"
    )
    parser.add_argument(
        "--calibration-images",
        type=int,
        default=64,
        metavar="N",
        help="take at most so many of them (default: %(default)s)",
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="score PyTorch and the exported model on the config's test data too",
    )
    parser.add_argument("--data-root", help="folder of that test data (default: the config's)")
    parser.add_argument(
        "--threads",
        type=int,
        help="threads of the exported model in the comparison (default: its runtime's choice)",
    )
