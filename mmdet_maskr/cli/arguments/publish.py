"""Publish a training's checkpoint: one folder that loads with nothing else.

Writes FOLDER/model.safetensors (weights, names of classes and keypoints), config.py (whole),
release.json, a model card README.md, and SHA-256 sums. Then:

    MaskRInferencer.from_pretrained('FOLDER')('photo.jpg')

Examples:
    %(prog)s work_dirs/pets/epoch_12.pth pets_release --license apache-2.0
    %(prog)s epoch_12.pth out --license mit --config config.py --scores scores.json
    %(prog)s epoch_12.pth out --license mit --push hf://org/name
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("checkpoint", type=Path, help="of a training, or a converted one")
    parser.add_argument("out", type=Path, metavar="FOLDER", help="a new folder, or one to replace")
    parser.add_argument(
        "--license", required=True, help="of the weights: apache-2.0, cc-by-4.0, or words"
    )
    parser.add_argument("--name", help="of the model (default: that of the checkpoint's folder)")
    parser.add_argument("--config", help="of the training (default: the one in the checkpoint)")
    parser.add_argument(
        "--scores", metavar="FILE.json",
        help="scores that maskr test has written (default: what the training's logs say)",
    )  # fmt: skip
    parser.add_argument(
        "--origin", metavar="TEXT", help="what it was trained on and how, in a line"
    )
    parser.add_argument(
        "--push", metavar="hf://ORG/NAME[@BRANCH]", help="upload the folder to the Hugging Face hub"
    )
    parser.add_argument("--private", action="store_true", help="with --push: a new one is private")
