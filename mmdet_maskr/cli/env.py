"""``maskr env``: what is installed, and whether it works."""

from __future__ import annotations

import argparse

from mmdet_maskr import environment
from mmdet_maskr.cli.output import print_json


def run(args: argparse.Namespace) -> None:
    if args.json:
        print_json(environment.sections())
    else:
        print(environment.describe())
