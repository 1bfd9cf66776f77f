"""Convert a checkpoint of Detectron2, torchvision or mmdet: config and weights, the same outputs.

Writes OUT_DIR/config.py, generated from the source, and OUT_DIR/model.pth. Nothing is written
unless every tensor of the source has a place here, and every tensor here a value.

Examples:
    python tools/convert_weights.py model.pkl out --from detectron2 --source-config config.yaml
    python tools/convert_weights.py maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth out --from torchvision
    python tools/convert_weights.py mask_rcnn.pth out --from mmdet --source-config mask_rcnn.py
    python tools/convert_weights.py ... --classes cat,dog     # then tools/train.py out/config.py
    python tools/convert_weights.py ... --verify outputs.npz  # compare with the source's outputs
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import convert, output, own_classes, verify

NEEDS_CONFIG = ("detectron2", "mmdet")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint: .pkl or .pth")
    parser.add_argument("out_dir", help="folder for config.py and model.pth")
    parser.add_argument(
        "--from", dest="origin", choices=sorted(convert.CONVERTERS), required=True,
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
        help="classes of your own data set, in the order of its categories: the layers that depend "
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
        help="epsilon of torchvision's backbone normalisation (default: 0 for its COCO_V1 weights "
        "of Mask and Keypoint R-CNN, else 1e-5)",
    )
    parser.add_argument(
        "--verify",
        metavar="OUTPUTS.npz",
        help="compare with these stored outputs of the source, and print a table; exit code 1 "
        "where they differ",
    )
    parser.add_argument(
        "--verify-image", help="image of --verify (default: image.png beside the file)"
    )
    return parser.parse_args()


def check_args(args: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        UserError: with the option's name.
    """
    if args.origin in NEEDS_CONFIG and args.source_config is None:
        raise UserError(f"--from {args.origin} needs --source-config.")
    if args.origin not in NEEDS_CONFIG and args.source_config is not None:
        raise UserError(f"--from {args.origin} reads all from the weights: no --source-config.")
    if args.origin != "torchvision" and (
        args.unused_classes != "drop" or args.norm_eps is not None
    ):
        raise UserError("--unused-classes and --norm-eps are for --from torchvision.")
    if args.verify_image is not None and args.verify is None:
        raise UserError("--verify-image needs --verify.")
    if args.classes is not None and args.verify is not None:
        raise UserError("--verify cannot go with --classes, whose layers are new.")


def main() -> None:
    args = parse_args()
    check_args(args)
    reference = None
    if args.verify is not None:
        reference = verify.load_reference(args.verify, args.verify_image)
    if args.origin == "torchvision":
        conversion = convert.from_torchvision(
            args.source, args.unused_classes == "keep", args.norm_eps
        )
    else:
        conversion = convert.CONVERTERS[args.origin](args.source, args.source_config)
    if args.classes is not None:
        conversion = own_classes.with_own_classes(conversion, args.classes.split(","))
    output.save(conversion, args.out_dir)
    report(conversion, args.out_dir)
    if reference is not None:
        comparison = verify.ReferenceCheck(
            output.load(args.out_dir),
            reference,
            conversion.source_labels,
            conversion.source_background,
        )
        if not verify.table(comparison.rows()):
            sys.exit(1)


def report(conversion: output.Conversion, folder: str) -> None:
    """Say what was converted, what was left out, and where the result lies."""
    print(f"{conversion.source}: {len(conversion.state)} tensors")
    for reason, count in Counter(conversion.dropped.values()).items():
        print(f"  {count} left out or made anew: {reason}")
    for note in conversion.notes:
        print(f"  {note}")
    print(f"written: {folder}/config.py and {folder}/model.pth")


if __name__ == "__main__":
    run_tool(main)
