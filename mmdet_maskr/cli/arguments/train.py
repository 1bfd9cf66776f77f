"""Train a config, or train on a folder of annotated photos: the config is written for you.

The options are those of mmdet's tools/train.py, and --data-root.

Examples:
    %(prog)s my_photos --minutes 20
    %(prog)s configs/maskr_r50_fpn_1x.py
    %(prog)s configs/mini/maskr_coco_mini.py --data-root data/coco --amp
    %(prog)s CONFIG --weights mask_rcnn_R_50_FPN_3x    # fine-tune a pretrained model
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
        "Training starts from its weights; classes with the same name keep theirs. Without CONFIG, "
        "the pretrained model's own config is trained. For a folder: 'none' trains from scratch",
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
        help=(
            "resume from this checkpoint; without a path, from the newest checkpoint in "
            "the work dir"
        ),
    )


def _add_folder_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--minutes",
        type=float,
        help="train for this many minutes; the time of an iteration is measured first",
    )
    add("--epochs", type=float, help="train for this many epochs, instead of --minutes")
    add("--classes", metavar="A,B", help="train only these classes")
    add(
        "--val",
        metavar="FOLDER|SHARE",
        help="folder of the validation photos, or the share of photos to validate on",
    )
    add("--folds", type=int, metavar="K", help="K-fold cross-validation: train K models")
    add("--seed", type=int, default=0, help="seed of split and training (default: %(default)s)")
    add("--format", help="annotation format, if the folder has several")
    add(
        "--flips",
        default="auto",
        help="random flips: none, horizontal, vertical, both, or auto (default: %(default)s)",
    )
    add(
        "--copy-paste",
        action="store_true",
        default=None,
        help="copy-paste augmentation: paste objects of other photos, with masks and keypoints",
    )
    add("--device", choices=("cpu", "cuda"), help="where to train (default: a GPU if there is one)")
