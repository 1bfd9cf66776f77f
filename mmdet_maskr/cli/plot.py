"""``maskr plot``: curves of logged values."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmdet_maskr.cli.arguments.plot import USUAL
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import check_new_file
from mmdet_maskr.visualization.curves import choose_keys, plot_runs, read_run


def labels_of(logs: list[Path], given: list[str] | None) -> list[str]:
    """A label for each run, as short as tells them apart.

    Args:
        logs: paths of L runs.
        given: ``--labels``, taken as they are; None for the ends of the paths.

    Raises:
        UserError: ``given`` are not L different names, or two runs are the same.
    """
    if given is not None:
        if len(given) != len(logs) or len(set(given)) != len(given):
            raise UserError(f"--labels needs {len(logs)} different names, one for each run.")
        return given
    paths = [str(log.resolve()) for log in logs]
    if len(set(paths)) != len(paths):
        raise UserError("the same run is named twice.")
    if len(paths) == 1:
        return [logs[0].resolve().name]
    common = os.path.commonpath(paths)
    return [os.path.relpath(path, common) for path in paths]


def run(args: argparse.Namespace) -> None:
    if args.smooth < 1:
        raise UserError(f"--smooth {args.smooth}: it must be 1 or more.")
    if args.out.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--out {args.out}: its name must end in .png, .pdf or .svg.")
    check_new_file(args.out, "--out")
    labels = labels_of(args.logs, args.labels)
    runs = {label: read_run(log) for label, log in zip(labels, args.logs, strict=True)}
    if args.list:
        for label, run in runs.items():
            print(f"{label}:")
            for name, points in run.items():
                print(f"  {name}: {len(points)} values, the last {points[-1][1]:.6g}")
        return
    if args.keys is not None:
        keys = choose_keys(runs.values(), args.keys)
    else:
        known = {name for run in runs.values() for name in run}
        keys = []
        for pattern in USUAL:
            try:
                keys += [key for key in choose_keys(runs.values(), [pattern]) if key not in keys]
            except UserError:
                continue  # a run without validation, say
        if not keys:
            raise UserError(f"the logs have no losses; choose some of {', '.join(sorted(known))}.")
    print(f"{len(keys)} panels of {len(runs)} runs: {plot_runs(runs, keys, args.out, args.smooth)}")
