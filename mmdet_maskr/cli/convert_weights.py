"""``maskr convert-weights``: another codebase's checkpoint becomes a config and weights."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import convert, output, own_classes, verify

NEEDS_CONFIG = ("detectron2", "mmdet")


def check_args(args: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        UserError: with the option's name.
    """
    if args.origin in NEEDS_CONFIG and args.source_config is None:
        raise UserError(f"--from {args.origin} needs --source-config.")
    if args.origin not in NEEDS_CONFIG and args.source_config is not None:
        raise UserError(f"--from {args.origin} needs no --source-config: leave it out.")
    if args.origin != "torchvision" and (
        args.unused_classes != "drop" or args.norm_eps is not None
    ):
        raise UserError("--unused-classes and --norm-eps are for --from torchvision.")
    if args.verify_image is not None and args.verify is None:
        raise UserError("--verify-image needs --verify.")
    if args.classes is not None and args.verify is not None:
        raise UserError(
            "--verify and --classes exclude each other: --classes makes new layers with "
            "random weights."
        )


def run(args: argparse.Namespace) -> None:
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
        print(f"  {count} left out or newly initialized: {reason}")
    for note in conversion.notes:
        print(f"  {note}")
    print(f"written: {folder}/config.py and {folder}/model.pth")
