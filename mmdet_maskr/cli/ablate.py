"""``maskr ablate``: list, run and report the paper's tables."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import torch

from mmdet_maskr.ablations import cost, report, results
from mmdet_maskr.ablations.jobs import Job, Settings, jobs_of, shell
from mmdet_maskr.ablations.progress import Board, duration
from mmdet_maskr.ablations.schedule import Scheduler
from mmdet_maskr.ablations.tables import Table, TableRow, select_rows, select_tables
from mmdet_maskr.catalogue.files import configs_dir
from mmdet_maskr.cli.spelling import call
from mmdet_maskr.datasets import shapes
from mmdet_maskr.errors import UserError
from mmdet_maskr.platforms import usable_cpus

REPO = configs_dir().parent  # with tools/, in a checkout and in an installed package
SHAPES_ROOT = Path("data/shapes")  # the quickstart's


def chosen_rows(args: argparse.Namespace) -> list[tuple[Table, TableRow]]:
    """The rows that the call is about, each with its table.

    Raises:
        UserError: an unknown table, or no row has a word of ``--rows``.
    """
    tables = select_tables(args.tables or ["all"])
    rows = [
        (table, row) for table in tables for row in select_rows(table, getattr(args, "rows", None))
    ]
    if not rows:
        names = [row.name for table in tables for row in table.rows]
        raise UserError(f"--rows {' '.join(args.rows)}: there is no such row. Rows are {names}.")
    return rows


def known_jobs(args: argparse.Namespace) -> list[Job]:
    """Jobs of the chosen rows: --seeds of them, or those of which there is a folder."""
    settings = Settings(REPO, args.scale, args.work_dir.absolute())
    seeds = range(args.seeds) if args.seeds else _seeds_on_disk(settings)
    return jobs_of(chosen_rows(args), seeds, settings)


def _seeds_on_disk(settings: Settings) -> list[int]:
    found = (settings.work_dir / settings.scale).glob("*/seed_*")
    names = (re.fullmatch(r"seed_(\d{1,9})", folder.name) for folder in found if folder.is_dir())
    return sorted({int(name[1]) for name in names if name})


def list_tables(args: argparse.Namespace) -> None:
    """Print the rows of the tables, and which seeds of each are done or failed.

    Raises:
        UserError: an unknown table, or no row has a word of ``--rows``.
    """
    jobs = known_jobs(args)
    rows = chosen_rows(args)
    for table in dict.fromkeys(table for table, _ in rows):
        print(f"\n{table.name:15}{report.title(table)}")
        for row in (row for owner, row in rows if owner is table):
            own = [job for job in jobs if (table.name, row.name) in job.rows]
            results_of = {job.seed: job.result for job in own if job.result is not None}
            done = list(results_of)
            failed = [(job.seed, job.failure) for job in own if job.failure is not None]
            state = "not run"
            if done:
                spent = [result["seconds"] for result in results_of.values()]
                state = f"seeds {done} done, {duration(sum(spent) / len(spent))} each"
            state += "".join(f"; seed {seed} failed: {why['reason']}" for seed, why in failed)
            extra = " (extra)" if row.extra else ""
            print(f"  {row.name + extra:40} configs/{row.config(args.scale)}: {state}")


def run_tables(args: argparse.Namespace) -> bool:
    """Train and test what is missing of the tables; with ``--dry-run`` print the commands.

    Returns:
        Whether all rows are done; True for a dry run.

    Raises:
        UserError: options that do not go together, an unknown table or row, a work dir with runs of
            other conditions, or fewer GPUs than ``--scale coco`` or a row needs.
    """
    if args.gpus is not None and args.launcher == "none":
        raise UserError("--gpus does nothing without --launcher pytorch.")
    gpus = args.gpus or (8 if args.launcher == "pytorch" and args.scale == "coco" else 1)
    default_root = str(SHAPES_ROOT.absolute()) if args.scale == "mini" else None
    data_root = args.data_root
    if data_root is not None and "://" not in data_root:
        data_root = os.path.abspath(data_root)  # the tools run in the checkout
    settings = Settings(
        REPO,
        args.scale,
        args.work_dir.absolute(),
        None if data_root == default_root else data_root,
        args.launcher,
        gpus,
        default_root=default_root,
    )
    rows = chosen_rows(args)
    jobs = jobs_of(rows, range(args.seeds), settings)
    for job in jobs:
        job.check_conditions()
    if args.dry_run:
        print_commands(jobs, rows)
        return True
    if args.scale == "coco" and not torch.cuda.is_available():
        raise UserError(
            "--scale coco needs GPUs, and torch finds none. Use --dry-run to print the "
            "commands, or --scale mini."
        )
    if args.scale == "mini" and args.data_root is None and any(job.result is None for job in jobs):
        print(f"the shapes: {SHAPES_ROOT}", flush=True)
        shapes.write_dataset(SHAPES_ROOT)
    done = Scheduler(jobs, slots(args.jobs, gpus), Board()).run()
    print(f"runs: {settings.work_dir}")
    command = call(f"ablate report {' '.join(args.tables)} --scale {args.scale}")
    print(
        f"report: {command}"
        if done
        else f"failed rows are tried again by the same command; {command}"
    )
    return done


def slots(jobs: int | None, gpus: int) -> list[dict[str, str]]:
    """Environment of each of the rows that run at the same time.

    With GPUs, as many rows as there are sets of ``gpus``; else one row a core, as small models gain
    little from a second. A number of ``jobs`` that is given shares GPUs or cores evenly. GPUs are
    those of CUDA_VISIBLE_DEVICES where it is set.

    Raises:
        UserError: there are fewer GPUs than a row wants.
    """
    devices = torch.cuda.device_count()
    cores = usable_cpus()
    if devices:
        if gpus > devices:
            raise UserError(f"--gpus {gpus}: this machine has {devices}. Use a lower number.")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(i) for i in range(devices)]
        count = jobs or max(1, devices // gpus)
        sets = [
            ",".join(names[(slot * gpus + i) % devices].strip() for i in range(gpus))
            for slot in range(count)
        ]
        variables = [dict(CUDA_VISIBLE_DEVICES=ids) for ids in sets]
    else:
        count = jobs or max(1, cores // gpus)
        variables = [{} for _ in range(count)]
    threads = str(max(1, cores // (count * gpus)))
    return [
        dict(OMP_NUM_THREADS=threads, PORT=str(29500 + slot), **own)
        for slot, own in enumerate(variables)
    ]


def print_commands(jobs: list[Job], rows: list[tuple[Table, TableRow]]) -> None:
    """The commands of what is missing, and on COCO what they will cost."""
    by_name = {(table.name, row.name): row for table, row in rows}
    hours = 0.0
    for job in jobs:
        names = ", ".join(f"{table}: {row}" for table, row in job.rows) or "first weights"
        print(f"\n# {names}; seed {job.seed}")
        if job.result is not None:
            print(f"# done: {job.folder}")
            continue
        print(shell(job.train_command(), REPO))
        print(shell(job.test_command(), REPO))
        if job.settings.scale == "coco":
            own = cost.gpu_hours(by_name[job.rows[0]], job.cfg, job.settings.gpus)
            hours += own
            print(f"# about {own:.0f} GPU hours ({by_name[job.rows[0]].cost} of Detectron2's zoo)")
    gpus = jobs[0].settings.gpus
    if jobs[0].settings.scale == "coco" and gpus != 8:
        print(
            f"\n{gpus} instead of the paper's 8 GPUs: the learning rate is scaled, and schedules "
            f"that count iterations see {gpus}/8 of the images"
        )
    if hours:
        print(
            f"\nin all about {hours:.0f} GPU hours on V100s, {duration(hours / gpus * 3600)} on "
            f"{gpus}: Detectron2's training times of the nearest models, without validation"
        )


def report_tables(args: argparse.Namespace) -> None:
    """Write tables and figures of the results, and print the tables.

    Raises:
        UserError: both ``--page`` and ``--out``, an unknown table, a results file that cannot be
            read, or no results of these tables at this scale.
    """
    if args.results is not None:
        records = results.read_records(args.results)
    else:
        records = results.records_of(known_jobs(args))
    if args.page is not None and args.out is not None:
        raise UserError(
            "--page and --out exclude each other: --page already sets the place of the report."
        )
    out = args.out or args.work_dir / "report"
    if args.page is not None:
        out = args.page.with_suffix("")
    tables = select_tables(args.tables)
    if not any(not results.Summary(table, args.scale, records).empty for table in tables):
        raise UserError(
            f"there are no results of {', '.join(table.name for table in tables)} at --scale "
            f"{args.scale} in {args.results or args.work_dir}: run them first."
        )
    files = report.write_report(tables, args.scale, records, out, pages=args.page is None)
    if args.page is not None:
        report.update_page(args.page, tables, args.scale, records)
        files.append(args.page)
    for file in files:
        if file.suffix == ".md" and file != args.page:
            print(f"\n{file.read_text(encoding='utf-8')}")
    print("written: " + " ".join(map(str, files)))


def run(args: argparse.Namespace) -> None:
    for option in ("seeds", "gpus", "jobs"):
        value = getattr(args, option, None)
        if value is not None and value < 1:
            raise UserError(f"--{option} must be at least 1, not {value}.")
    command = dict(list=list_tables, run=run_tables, report=report_tables)[args.command]
    if command(args) is False:
        sys.exit(1)
