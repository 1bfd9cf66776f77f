"""``maskr zoo``: the tables of configs and of pretrained models."""

from __future__ import annotations

import argparse
import dataclasses

from mmengine.registry import init_default_scope

from mmdet_maskr.catalogue import config_paths
from mmdet_maskr.catalogue.describe import describe, table
from mmdet_maskr.cli.arguments.zoo import FILTERS
from mmdet_maskr.cli.output import print_json
from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet
from mmdet_maskr.zoo import catalogue


def run(args: argparse.Namespace) -> None:
    if args.pretrained:
        chosen = pretrained(args)
        if args.json:
            print_json([dataclasses.asdict(model) for model in chosen])
        else:
            print(f"{catalogue.table(chosen)}\n\n{how_to_go_on(chosen)}")
        return
    given = [name for name in FILTERS if getattr(args, name) is not None]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')} works only with --pretrained.")
    init_default_scope("mmdet")
    paths = [p for p in config_paths() if not args.words or any(w in str(p) for w in args.words)]
    if not paths:
        raise UserError(f"no config has {' or '.join(args.words)} in its name.")
    with quiet():
        rows = [describe(path) for path in paths]
    if args.json:
        print_json([row._asdict() for row in rows])
    else:
        print(table(rows))


def pretrained(args: argparse.Namespace) -> list[catalogue.PretrainedModel]:
    """The pretrained models that are asked for.

    Raises:
        UserError: none is of this kind.
    """
    chosen = catalogue.select(args.words, **{name: getattr(args, name) for name in FILTERS})
    if not chosen:
        raise UserError("no pretrained model matches: leave out an option or a word.")
    return chosen


def how_to_go_on(chosen: list[catalogue.PretrainedModel]) -> str:
    """What can be done with one of them."""
    name = chosen[0].name
    return (
        f"{len(chosen)} models; AP in percent, as their publishers say.\n"
        f"MaskRInferencer.from_pretrained('{name}')('photo.jpg'), or "
        f"load_from='pretrained://{name}' in a config."
    )
