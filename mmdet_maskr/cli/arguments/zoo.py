"""List the configs: backbone, heads, dataset, schedule, parameters, operations.

Operations (GFLOPs) are multiply-adds for an image of 1280 x 800, or of the config's own size where
that is smaller, with as many RoIs as it allows, 1000 proposals and 100 detections at most; "-"
where the detector has parts that are not counted.

Examples:
    %(prog)s
    %(prog)s light            for CPUs
    %(prog)s swin lvis        names that contain one of the words
    %(prog)s --pretrained     models that others publish, by name
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
    parser.add_argument("words", nargs="*", help="show those whose name contains one of these")
    parser.add_argument(
        "--pretrained",
        action="store_true",
        help="list pretrained models instead of configs: their AP as it is published",
    )
    group = parser.add_argument_group("which pretrained models")
    group.add_argument("--task", choices=TASKS, help="what they find")
    group.add_argument(
        "--backbone", metavar="PART", help="part of its name, such as R-50, Swin, ViT, C4"
    )
    group.add_argument("--body", dest="backbone", help=argparse.SUPPRESS)  # its name before 0.3
    group.add_argument("--data", metavar="NAME", help="trained on COCO, LVIS, Cityscapes or VOC")
    group.add_argument("--source", choices=SOURCES, help="who published them")
    group.add_argument(
        "--min-ap", type=float, metavar="PERCENT", help="published AP of the task, at least"
    )
    group.add_argument("--max-params", type=float, metavar="MILLIONS", help="parameters, at most")
    add_json(parser, "the list")
