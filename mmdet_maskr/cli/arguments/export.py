"""Export a detector to ONNX, TorchScript or OpenVINO, and compare the file with PyTorch.

Writes OUT/model.onnx, OUT/model.pt or OUT/model.xml with OUT/model.bin, and OUT/metadata.json.
The graph takes an image of any size and returns boxes, scores, labels, mask probabilities and
keypoint heatmaps of the detections, after NMS. It uses standard operators only. Exit code 1 if the
predictions differ too much from PyTorch's.

    from mmdet_maskr.deploy import load    # runs without mmdet and mmcv
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
    parser.add_argument("checkpoint", nargs="?", help="checkpoint of the model")
    parser.add_argument("out", nargs="?", type=Path, help="folder to write to")
    add_weights(parser, "It replaces CONFIG and CHECKPOINT")
    parser.add_argument(
        "--format", choices=FORMATS, default="onnx", help="format to write (default: %(default)s)"
    )
    parser.add_argument(
        "--opset",
        type=int,
        default=DEFAULT_OPSET,
        help="ONNX opset version (default: %(default)s)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="images, or a folder, for the comparison with PyTorch (default: the first "
        f"{CHECKED} of --calibration, or noise)",
    )
    parser.add_argument(
        "--int8", action="store_true", help="quantize to 8 bits (--format openvino)"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FOLDER", help="folder of typical images, for --int8"
    )
    parser.add_argument(
        "--calibration-images",
        type=int,
        default=64,
        metavar="N",
        help="use at most N images (default: %(default)s)",
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="also compute AP of both models on the config's test data",
    )
    parser.add_argument(
        "--data-root", help="with --evaluate: folder of the dataset (default: the config's)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="CPU threads of the exported model in the comparison (default: the runtime's choice)",
    )
