"""Scalars over training runs, read from what the Runner logged and drawn as one picture."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from mmdet_maskr.data_files import field, is_number, parse_json
from mmdet_maskr.errors import UserError
from mmdet_maskr.figures import new_figure, save_figure
from mmdet_maskr.folders import check_new_file

LOSS_NAMES = {
    "loss": "total",
    "loss_rpn_cls": "RPN objectness",
    "loss_rpn_bbox": "RPN box",
    "loss_cls": "class",
    "loss_bbox": "box",
    "loss_mask": "mask",
    "loss_keypoint": "keypoint",
}
AP_NAMES = {
    "coco/bbox_mAP": "box AP",
    "coco/segm_mAP": "mask AP",
    "coco/keypoints_mAP": "keypoint AP",
}
SCALARS = "vis_data/scalars.json"
COLUMNS = 3  # panels next to one another
MAX_PANELS = 60
MAX_VALUE = 1e100
MAX_STEP = 10**12

Series = dict[str, list[tuple[int, float]]]


def read_scalars(work_dir: str | Path) -> tuple[Series, Series]:
    """Read the losses and APs of a run, over all its sessions if it was resumed.

    Args:
        work_dir: work dir of the run, with ``TIMESTAMP/vis_data/scalars.json`` in it.

    Returns:
        Losses by name as (iteration, value), and APs by name as (epoch, value); a later session
        replaces what an earlier one logged for the same step.

    Raises:
        UserError: nothing was logged there.
    """
    found = _series(sorted(Path(work_dir).glob(f"*/{SCALARS}")))
    if not found.get("loss"):
        raise UserError(f"no losses were logged in {work_dir}. Is it the work dir of a training?")
    losses, aps = (
        {name: found[name] for name in names if name in found} for names in (LOSS_NAMES, AP_NAMES)
    )
    return losses, aps


def read_run(log: str | Path) -> Series:
    """Read all that a run has logged, over all its sessions if it was resumed.

    Args:
        log: work dir of the run, folder of one session, or a ``scalars.json``.

    Returns:
        By name (step, value); steps are iterations, or epochs for what is logged after one.

    Raises:
        UserError: there is none, nothing is in it, or a line of it is damaged.
    """
    log = Path(log)
    if log.is_file():
        files = [log]
    else:
        files = sorted(log.glob(f"*/{SCALARS}")) or sorted(log.glob(SCALARS))
    found = _series(files)
    if not found:
        raise UserError(
            f"nothing was logged in {log.absolute()}: pass the work dir of a training, "
            f"or a {SCALARS}."
        )
    return found


def choose_keys(runs: Iterable[Series], patterns: Sequence[str]) -> list[str]:
    """The names that some run has logged and that a pattern matches, in the patterns' order.

    Args:
        runs: of :func:`read_run`.
        patterns: names, or patterns as ``loss_*``.

    Raises:
        UserError: a pattern matches none.
    """
    known = list(dict.fromkeys(name for run in runs for name in run))
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matching = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        if not matching:
            raise UserError(f"no run has logged {pattern!r}; there are {', '.join(sorted(known))}.")
        chosen.update(dict.fromkeys(matching))
    return list(chosen)


def plot_runs(
    runs: dict[str, Series], keys: Sequence[str], out_file: str | Path, smooth: int = 1
) -> Path:
    """Draw a panel for each key with a line for each run; returns the path of the PNG.

    Args:
        runs: by their labels, of :func:`read_run`.
        keys: names of what is drawn.
        out_file: path of the PNG.
        smooth: mean over so many logged values, which is drawn over the values themselves.

    Raises:
        UserError: more keys than a picture has place for.
    """
    if len(keys) > MAX_PANELS:
        raise UserError(
            f"{len(keys)} panels are too many for one picture (at most {MAX_PANELS}): "
            "choose some with --keys."
        )
    rows, columns = math.ceil(len(keys) / COLUMNS), min(len(keys), COLUMNS)
    figure = new_figure((0.6 + 4.6 * columns, 0.5 + 3.3 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    colors = {label: f"C{number % 10}" for number, label in enumerate(runs)}
    for axes, key in zip(grid.flat, keys, strict=False):
        for label, run in runs.items():
            if key not in run:
                continue
            steps, values = _drawable(run[key])
            few = len(steps) <= 40
            if smooth > 1 and len(values) > smooth:
                axes.plot(steps, values, color=colors[label], alpha=0.25, linewidth=0.8)
                values = _running_mean(values, smooth)
            axes.plot(steps, values, "o-" if few else "-", color=colors[label], markersize=3)
        axes.set(title=_label(key), xlabel="epoch" if is_of_epochs(runs, key) else "iteration")
        axes.grid(alpha=0.3)
        if key.startswith("loss") or "AP" in key:
            axes.set_ylim(0, None)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in list(grid.flat)[len(keys) :]:
        axes.set_axis_off()
    handles = [grid.flat[0].plot([], [], color=colors[label])[0] for label in runs]
    figure.legend(
        handles,
        [_label(label) for label in runs],
        loc="outside upper left",
        ncols=min(len(runs), 4),
    )
    return _save(figure, out_file)


def plot_curves(work_dir: str | Path, out_file: str | Path) -> Path:
    """Draw losses over iterations and APs over epochs; returns the path of the PNG."""
    losses, aps = read_scalars(work_dir)
    figure = new_figure((11, 4.2))
    loss_axes, ap_axes = figure.subplots(1, 2)
    for name, points in losses.items():
        width = 2.4 if name == "loss" else 1.2
        loss_axes.plot(*_drawable(points), label=LOSS_NAMES[name], linewidth=width)
    loss_axes.set(xlabel="iteration", ylabel="loss", title="Training loss", ylim=(0, None))
    loss_axes.legend()
    for name, points in aps.items():
        label = f"{AP_NAMES[name]}: {points[-1][1]:.3f}"
        ap_axes.plot(*_drawable(points), "o-", label=label)
    ap_axes.set(xlabel="epoch", ylabel="COCO AP (IoU or OKS .50:.95)", title="AP on the val split")
    ap_axes.set_ylim(0, 1)
    ap_axes.xaxis.get_major_locator().set_params(integer=True)
    if aps:
        ap_axes.legend()
    for axes in (loss_axes, ap_axes):
        axes.grid(alpha=0.3)
    return _save(figure, out_file)


def _entries(files: Iterable[Path]) -> Iterator[tuple[dict, str]]:
    """What was logged at steps, and where it stands.

    Raises:
        UserError: a line that is damaged, but for the last one of a file: a session that was killed
            has written a part of it.
    """
    for file in files:
        lines = _lines(file)
        for number, line in enumerate(lines, 1):
            where = f"log {file}, line {number}"
            try:
                entry = parse_json(line, f"log {file}", number)
            except UserError as error:
                if number == len(lines):
                    print_log(
                        f"{file}: its last line is incomplete (the run was killed) and was skipped."
                    )
                    continue
                raise UserError(f"{error} Remove this line to draw the rest.") from error
            if not isinstance(entry, dict):
                raise UserError(
                    f"{where} contains a {type(entry).__name__}, not names with values."
                )
            if "step" in entry:
                field(entry, "step", _is_step, "a whole number from 0 on", where)
                yield entry, where


def _lines(file: Path) -> list[bytes]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"log {file} cannot be read: {error.strerror}.") from error
    return content.rstrip(b"\0\r\n ").splitlines()  # zeros are what a power cut leaves


def _is_step(value: object) -> bool:
    return is_number(value) and 0 <= value < MAX_STEP and value == int(value)  # type: ignore[operator,call-overload]


def _series(files: Sequence[Path]) -> Series:
    """By name (step, value), ascending; a later file replaces what an earlier one has of a step."""
    tables: dict[str, dict[int, float]] = {}
    trained = 0
    for entry, where in _entries(files):
        step = int(entry["step"])
        if "iter" in entry:
            trained = step
        elif step == 0:  # the epoch of a training that counts iterations
            step = trained
        for name, value in entry.items():
            known = isinstance(value, (int, float)) and not isinstance(value, bool)
            if known and name not in ("step", "iter", "epoch"):
                if isinstance(value, int) and not is_number(value):
                    raise UserError(f"{where}: {name} has {len(str(value))} digits.")
                # "time" and "data_time" of a validation are others than those of iterations
                timing = name in ("time", "data_time") and "iter" not in entry
                tables.setdefault(f"val/{name}" if timing else name, {})[step] = float(value)
    return {name: sorted(table.items()) for name, table in tables.items()}


def is_of_epochs(runs: dict[str, Series], key: str) -> bool:
    """Whether the steps of what validations log are epochs: fewer than the iterations logged."""
    if "/" not in key:
        return False
    last = [run[key][-1][0] for run in runs.values() if key in run]
    iterations = [run["loss"][-1][0] for run in runs.values() if key in run and "loss" in run]
    return not iterations or max(last) < min(iterations)


def _running_mean(values: Sequence[float], count: int) -> list[float]:
    """The mean of each value and up to ``count - 1`` before it; NaN where one of them is."""
    found = np.asarray(values, float)
    known = np.isfinite(found)
    sums, unknown = (
        np.concatenate([[0], np.cumsum(part)]) for part in (np.where(known, found, 0), ~known)
    )
    ends = np.arange(1, len(found) + 1)
    starts = np.maximum(0, ends - count)
    means = (sums[ends] - sums[starts]) / (ends - starts)
    return np.where(unknown[ends] > unknown[starts], np.nan, means).tolist()


def _drawable(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Steps and values; what has no place in a picture, as of a training that diverged, is NaN."""
    steps = [step for step, _ in points]
    return steps, [value if abs(value) < MAX_VALUE else math.nan for _, value in points]


def _label(name: str) -> str:
    """A name as plain text: matplotlib takes what is between $ for a formula."""
    shown = "".join(c if c.isprintable() else "?" for c in name)
    return (shown if len(shown) <= 60 else f"{shown[:57]}...").replace("$", r"\$")


def _save(figure, out_file: str | Path) -> Path:
    check_new_file(Path(out_file), "the picture")
    return save_figure(figure, out_file)
