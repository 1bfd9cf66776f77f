"""Train a model of a config, or on a folder of annotated photos, for which it writes the config.

Takes the options of mmdet's tools/train.py, and --data-root.

Examples:
    %(prog)s my_photos --minutes 20
    %(prog)s configs/maskr_r50_fpn_1x.py
    %(prog)s configs/mini/maskr_coco_mini.py --data-root data/coco --amp
    %(prog)s CONFIG --weights mask_rcnn_R_50_FPN_3x    # fine-tune what others have trained
    bash tools/dist_train.sh configs/maskr_r50_fpn_1x.py 8 --auto-scale-lr
"""

from __future__ import annotations

import argparse

from mmdet_maskr.cli.arguments.common import add_config_arguments, add_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFIG|FOLDER",
        help="config, or a folder of photos and annotations",
    )
    add_weights(
        parser,
        "to begin from; classes of the same name keep theirs. Without CONFIG, its own is trained; "
        "of a folder, none begins from nothing",
    )
    add_config_arguments(parser)
    _add_folder_arguments(parser.add_argument_group("for a folder"))
    parser.add_argument(
        "--amp",
        action="store_true",
        help="train in mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate with the total batch size, from the config's "
        "auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from this checkpoint; without a path from the newest one in the work dir",
    )


def _add_folder_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--minutes", type=float, help="time to train; iterations are measured, not guessed")
    add("--epochs", type=float, help="passes over the photos, instead of a time")
    add("--classes", metavar="A,B", help="train these classes alone")
    add("--val", metavar="FOLDER|SHARE", help="another folder that validates, or a share of photos")
    add("--folds", type=int, metavar="K", help="train K times; each photo validates once")
    add("--seed", type=int, default=0, help="of split and training (%(default)s)")
    add("--format", help="of the annotations, where the folder has several")
    add("--flips", default="auto", help="none, horizontal, vertical, both, or auto (%(default)s)")
    add(
        "--copy-paste",
        action="store_true",
        default=None,
        help="paste objects of other photos in, with masks and keypoints in step",
    )
    add("--device", choices=("cpu", "cuda"), help="where to train (default: a GPU if there is one)")
