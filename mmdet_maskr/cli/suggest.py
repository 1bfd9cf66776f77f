"""``maskr suggest``: which photos to annotate next."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from mmdet_maskr.apis.suggestions import LEAST_SCORE, choose, recorded_features, uncertainty
from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.cli.output import only_json, print_json
from mmdet_maskr.cli.predict import load_inferencer
from mmdet_maskr.datasets.formats.records import Photo
from mmdet_maskr.datasets.formats.splits import alike
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import check_new_file


def run(args: argparse.Namespace) -> None:
    if args.count < 1:
        raise UserError(f"--count {args.count}: it must be 1 or more.")
    if args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: it must be 1 or more.")
    if any("://" in photo for photo in args.photos):
        raise UserError("PHOTOS must be files, because URLs cannot be annotated.")
    if args.out is not None:
        check_new_file(args.out, "--out")
    with only_json(args.json):
        chosen, failed, total = suggestions(args)
    if args.out is not None:
        write_whole(args.out, "".join(f"{path}\n" for path, _ in chosen))
    if args.json:
        photos = [dict(path=path, uncertainty=round(value, 6)) for path, value in chosen]
        print_json(dict(photos=photos, of=total, failed=failed))
    else:
        print(f"uncertainty  photo ({len(chosen)} of {total})")
        for path, value in chosen:
            print(f"{value:11.3f}  {path}")
    for name, reason in failed.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    if failed:
        sys.exit(1)


def suggestions(args: argparse.Namespace) -> tuple[list[tuple[str, float]], dict[str, str], int]:
    """Paths with their uncertainty in order, why others could not be read, and how many there are.

    Raises:
        UserError: the model sees an image several times (test-time augmentation).
    """
    inferencer = load_inferencer(args)
    with recorded_features(inferencer.model) as features:
        result = inferencer(
            args.photos, batch_size=args.batch_size, score_thr=LEAST_SCORE, outputs=["boxes"]
        )
    paths = [str(name) for name in result["images"]]
    if len(features) != len(paths):
        raise UserError("the model sees each photo several times: use a config without tta_model.")
    unsure = [uncertainty(found["scores"]) for found in result["predictions"]]
    photos = [Photo(Path(path)) for path in paths]
    numbers = {id(photo): n for n, group in enumerate(alike(photos)) for photo in group}
    groups = [numbers[id(photo)] for photo in photos]
    order = choose(unsure, np.stack(features), groups, args.count)
    return [(paths[i], unsure[i]) for i in order], result["failed"], len(paths)
