"""List the configs: body, heads, data set, schedule, parameters, operations.

Operations (GFLOPs) are multiply-adds for an image of 1280 x 800 with 1000 proposals and 100
detections; "-" where the detector has parts that are not counted.

Examples:
    %(prog)s
    %(prog)s swin lvis        names that contain one of the words
"""

from __future__ import annotations

import argparse

from mmdet_maskr.cli.arguments.common import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("words", nargs="*", help="show configs whose name contains one of these")
    add_json(parser, "the list")
