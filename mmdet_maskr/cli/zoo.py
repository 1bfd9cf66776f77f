"""``maskr zoo``: the table of configs."""

from __future__ import annotations

import argparse

from mmengine.registry import init_default_scope

from mmdet_maskr.catalogue import config_paths
from mmdet_maskr.catalogue.describe import describe, table
from mmdet_maskr.cli.output import print_json
from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet


def run(args: argparse.Namespace) -> None:
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
