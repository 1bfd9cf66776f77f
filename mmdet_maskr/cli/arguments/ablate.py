"""The ablation tables of He et al. 2017: list them, run them, report them.

    list                   list the tables, their rows, and which are done
    run TABLE...           train and test the missing rows; resume interrupted ones
    report TABLE...        write tables in Markdown and CSV, figures, results.json

--scale mini trains small models on synthetic shapes, a few minutes a row on two cores; --scale coco
trains the paper's models on COCO. You can stop at any time: the same command resumes.

Examples:
    %(prog)s run 2c --scale mini --seeds 3
    %(prog)s report 2c --scale mini
    %(prog)s run 2c --scale coco --launcher pytorch --gpus 8 --dry-run
"""

from __future__ import annotations

import argparse
from pathlib import Path

TABLES = ("1", "2a", "2b", "class-agnostic", "2c", "2d", "2e", "3", "4", "5", "6", "7")
SCALES = ("coco", "mini")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parts = {
        "list": commands.add_parser("list", help="list the tables, their rows, and which are done"),
        "run": commands.add_parser("run", help="train and test what is missing"),
        "report": commands.add_parser("report", help="write tables and figures"),
    }
    for name, part in parts.items():
        many = "*" if name == "list" else "+"
        part.add_argument("tables", nargs=many, metavar="TABLE", help=f"{', '.join(TABLES)}, all")
        part.add_argument("--scale", choices=SCALES, default="mini",
            help="mini: small models on synthetic shapes (default); coco: the paper's on COCO",
        )  # fmt: skip
        part.add_argument(
            "--work-dir",
            type=Path,
            default=Path("work_dirs/ablations"),
            help="folder of the runs (default: work_dirs/ablations)",
        )
        if name != "report":
            part.add_argument(
                "--rows",
                nargs="+",
                metavar="WORD",
                help="only rows whose names contain one of these words",
            )
        part.add_argument(
            "--seeds", type=int, metavar="N", default=1 if name == "run" else None,
            help="run seeds 0 to N - 1 of each row" if name == "run"
            else "seeds 0 to N - 1 of each row (default: all)",
        )  # fmt: skip
    run = parts["run"]
    run.add_argument("--launcher", choices=("none", "pytorch"), default="none",
                     help="pytorch: train a row on several GPUs (default: none)")  # fmt: skip
    run.add_argument(
        "--gpus", type=int, metavar="N", help="with --launcher: number of GPUs for each row"
    )
    run.add_argument(
        "--jobs",
        type=int,
        metavar="J",
        help="number of rows to train at the same time (default: as many as cores or GPUs allow)",
    )
    run.add_argument("--data-root", help="folder of the dataset (default: the configs' own)")
    run.add_argument("--dry-run", action="store_true", help="print the commands and their cost")
    parts["report"].add_argument(
        "--out", type=Path, help="folder of the report (default: WORK_DIR/report)"
    )
    parts["report"].add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="read the results from FILE, not from the work dir",
    )
    parts["report"].add_argument(
        "--page", type=Path, metavar="FILE.md",
        help="put the tables into this page; the report goes to a folder of its name next to it",
    )  # fmt: skip
