"""Convert a checkpoint of Detectron2, torchvision or mmdet: config and weights, the same outputs.

Writes OUT_DIR/config.py, generated from the source, and OUT_DIR/model.pth. Nothing is written
unless every tensor of the source has a place here, and every tensor here a value.

Examples:
    %(prog)s model.pkl out --from detectron2 --source-config config.yaml
    %(prog)s maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth out --from torchvision
    %(prog)s mask_rcnn.pth out --from mmdet --source-config mask_rcnn.py
    %(prog)s ... --classes cat,dog     # then maskr train out/config.py
    %(prog)s ... --verify outputs.npz  # compare with the source's outputs
"""

from __future__ import annotations

import argparse

ORIGINS = ("detectron2", "mmdet", "torchvision")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("source", help="checkpoint: .pkl or .pth")
    parser.add_argument("out_dir", help="folder for config.py and model.pth")
    parser.add_argument(
        "--from", dest="origin", choices=ORIGINS, required=True,
        help="the codebase that the checkpoint is of",
    )  # fmt: skip
    parser.add_argument(
        "--source-config",
        help="Detectron2's YAML (a full dump, or one of the model zoo with its base files) or "
        "mmdet's Python config, which is run",
    )
    parser.add_argument(
        "--classes",
        metavar="NAME,NAME",
        help="classes of your own dataset, in the order of its categories: the layers that depend "
        "on classes start anew, all others keep their weights",
    )
    parser.add_argument(
        "--unused-classes",
        choices=("drop", "keep"),
        default="drop",
        help="of torchvision's 90 COCO ids, 80 are in use: drop the others (their share of the "
        "softmax stays), or keep them as classes (default: drop)",
    )
    parser.add_argument(
        "--norm-eps",
        type=float,
        help="epsilon of torchvision's backbone normalization (default: 0 for its COCO_V1 weights "
        "of Mask and Keypoint R-CNN, else 1e-5)",
    )
    parser.add_argument(
        "--verify",
        metavar="OUTPUTS.npz",
        help="compare with these stored outputs of the source, and print a table; exit code 1 "
        "where they differ",
    )
    parser.add_argument(
        "--verify-image", help="image of --verify (default: image.png next to the file)"
    )
