"""List the configs, with backbone, heads, dataset, schedule, parameters and GFLOPs.

GFLOPs are multiply-adds for an image of 1280 x 800 (of the config's own size, if that is smaller)
with at most 1000 proposals and 100 detections; "-" if the detector has parts that cannot be
counted.

Examples:
    %(prog)s
    %(prog)s light            for CPUs
    %(prog)s swin lvis        those whose name contains one of the words
    %(prog)s --pretrained     pretrained models
    %(prog)s --pretrained --task masks --min-ap 40 --max-params 60
"""

from __future__ import annotations

import argparse

from mmdet_maskr.cli.arguments.common import add_json

TASKS = ("boxes", "masks", "keypoints", "panoptic")
SOURCES = ("detectron2", "mmdet", "torchvision")
FILTERS = ("task", "backbone", "data", "source", "min_ap", "max_params")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("words", nargs="*", help="list only names that contain one of these words")
    parser.add_argument(
        "--pretrained",
        action="store_true",
        help="list pretrained models instead of configs, with their published AP",
    )
    group = parser.add_argument_group("with --pretrained")
    group.add_argument("--task", choices=TASKS, help="what the model predicts")
    group.add_argument(
        "--backbone",
        metavar="PART",
        help="part of the backbone's name, such as R-50, Swin, ViT, C4",
    )
    group.add_argument("--body", dest="backbone", help=argparse.SUPPRESS)  # its name before 0.3
    group.add_argument(
        "--data", metavar="NAME", help="training dataset: COCO, LVIS, Cityscapes, VOC"
    )
    group.add_argument("--source", choices=SOURCES, help="codebase that published it")
    group.add_argument(
        "--min-ap", type=float, metavar="PERCENT", help="lowest published AP for the task"
    )
    group.add_argument(
        "--max-params", type=float, metavar="MILLIONS", help="largest number of parameters"
    )
    add_json(parser, "the list")
