"""``maskr publish``: write a checkpoint as a folder with all that is needed to load it."""

from __future__ import annotations

import argparse

from mmdet_maskr.errors import UserError
from mmdet_maskr.zoo import hub, publish, release


def run(args: argparse.Namespace) -> None:
    if args.push is not None:
        hub.read_address(args.push)  # before the work
    elif args.private:
        raise UserError("--private has an effect only with --push.")
    made = publish.gather(
        args.checkpoint, args.license, args.config, args.name, args.scores, args.origin
    )
    folder = release.write(made, args.out)
    size = (folder / release.WEIGHTS).stat().st_size / 1e6
    scores = ", ".join(f"{name} {value:.1f}" for name, value in made.scores.items())
    print(f"{made.name}: {len(made.state)} tensors, {size:.1f} MB; {scores or 'no scores known'}")
    print(f"written: {folder}")
    if args.push is not None:
        print(f"uploaded: {hub.push(folder, args.push, args.private)}")
