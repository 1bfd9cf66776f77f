"""Publish a checkpoint: write a folder with all that is needed to load the model.

Writes FOLDER/model.safetensors (weights, names of classes and keypoints), config.py (without
_base_), release.json, a model card README.md, and SHA-256 sums. Load it with:

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
    parser.add_argument(
        "checkpoint", type=Path, help="checkpoint of a training, or a converted one"
    )
    parser.add_argument("out", type=Path, metavar="FOLDER", help="a new folder, or one to replace")
    parser.add_argument(
        "--license", required=True, help="license of the weights, such as apache-2.0 or cc-by-4.0"
    )
    parser.add_argument("--name", help="name of the model (default: the checkpoint's folder)")
    parser.add_argument(
        "--config", help="config of the training (default: the one in the checkpoint)"
    )
    parser.add_argument(
        "--scores", metavar="FILE.json",
        help="scores that maskr test wrote (default: those in the training's logs)",
    )  # fmt: skip
    parser.add_argument(
        "--origin", metavar="TEXT", help="one line: what the model was trained on, and how"
    )
    parser.add_argument(
        "--push", metavar="hf://ORG/NAME[@BRANCH]", help="upload the folder to the Hugging Face hub"
    )
    parser.add_argument(
        "--private", action="store_true", help="with --push: create a private repository"
    )
