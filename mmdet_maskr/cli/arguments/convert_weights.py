"""Convert a checkpoint of Detectron2, torchvision or mmdet. The outputs stay the same.

Writes OUT_DIR/config.py, generated from the source, and OUT_DIR/model.pth. The conversion is
strict: it writes nothing if a tensor of the source is not used, or a tensor of the model gets no
value.

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
        help="codebase that trained the checkpoint",
    )  # fmt: skip
    parser.add_argument(
        "--source-config",
        help="Detectron2's YAML (a full dump, or a file of the model zoo with its base files next "
        "to it), or mmdet's Python config, which is executed",
    )
    parser.add_argument(
        "--classes",
        metavar="NAME,NAME",
        help=(
            "classes of your own dataset, in the order of its categories: layers that "
            "depend on the classes get new random weights, all others keep their "
            "weights"
        ),
    )
    parser.add_argument(
        "--unused-classes",
        choices=("drop", "keep"),
        default="drop",
        help=(
            "torchvision predicts 90 COCO ids, but only 80 are in use: drop the others "
            "(scores stay the same), or keep them as classes (default: drop)"
        ),
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
        help="compare with stored outputs of the source and print a table; exit code 1 if they "
        "differ",
    )
    parser.add_argument(
        "--verify-image",
        help="image that OUTPUTS.npz was computed from (default: image.png next to it)",
    )
