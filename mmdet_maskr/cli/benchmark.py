"""``maskr benchmark``: run one comparison of speed and memory."""

from __future__ import annotations

import argparse

from mmengine.registry import init_default_scope


def run(args: argparse.Namespace) -> None:
    init_default_scope("mmdet")
    args.run(args)
