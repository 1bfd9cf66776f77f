"""Write model-index.yml, configs/metafile.yml and configs/README.md from the configs.

Each config has its parameters, operations (multiply-adds for an image of 1280 x 800, or of the
config's size where that is smaller), and what others published for the same model. With --check
nothing is written; the exit code is 2 where a file is not what the configs give.

Examples:
    python tools/make_model_index.py
    python tools/make_model_index.py --check
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.registry import init_default_scope

from mmdet_maskr.catalogue import config_paths, configs_dir
from mmdet_maskr.catalogue.describe import describe
from mmdet_maskr.catalogue.model_index import contents, outdated
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    init_default_scope("mmdet")
    root: Path = configs_dir().parent
    with quiet():
        rows = [describe(path) for path in config_paths()]
    if args.check:
        old = outdated(root, rows)
        if old:
            raise UserError(f"{old} are outdated: run python tools/make_model_index.py.")
        print(f"{', '.join(contents(rows))} fit the {len(rows)} configs.")
        return
    for path, text in contents(rows).items():
        (root / path).write_text(text, encoding="utf-8")
        print(root / path)


if __name__ == "__main__":
    run_tool(main)
