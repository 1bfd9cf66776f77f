"""List the configs: body, heads, data set, schedule, parameters, operations.

Operations (GFLOPs) are multiply-adds for an image of 1280 x 800 with 1000 proposals and 100
detections; "-" where the detector has parts that are not counted.

Examples:
    python tools/list_configs.py
    python tools/list_configs.py swin lvis        names that contain one of the words
"""

from __future__ import annotations

import argparse

from mmengine.registry import init_default_scope

from mmdet_maskr.catalogue import config_paths
from mmdet_maskr.catalogue.describe import describe, table
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="show configs whose name contains one of these")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    init_default_scope("mmdet")
    paths = [p for p in config_paths() if not args.words or any(w in str(p) for w in args.words)]
    if not paths:
        raise UserError(f"no config has {' or '.join(args.words)} in its name.")
    with quiet():
        rows = [describe(path) for path in paths]
    print(table(rows))


if __name__ == "__main__":
    run_tool(main)
