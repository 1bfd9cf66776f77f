"""Scalars over training runs, read from what the Runner logged and drawn as one picture."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmdet_maskr.errors import UserError

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
        raise UserError(f"no losses were logged in {work_dir}: is it the work dir of a training?")
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
        UserError: there is none, or nothing is in it.
    """
    log = Path(log)
    if log.is_file():
        files = [log]
    else:
        files = sorted(log.glob(f"*/{SCALARS}")) or sorted(log.glob(SCALARS))
    found = _series(files)
    if not found:
        raise UserError(
            f"nothing was logged in {log.absolute()}: name the work dir of a training, or a "
            f"{SCALARS}."
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
    """
    rows, columns = math.ceil(len(keys) / COLUMNS), min(len(keys), COLUMNS)
    figure = _figure((0.6 + 4.6 * columns, 0.5 + 3.3 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = {label: f"C{number % 10}" for number, label in enumerate(runs)}
    for axes, key in zip(grid.flat, keys, strict=False):
        for label, run in runs.items():
            if key not in run:
                continue
            steps, values = zip(*run[key], strict=True)
            few = len(steps) <= 40
            if smooth > 1 and len(values) > smooth:
                axes.plot(steps, values, color=colours[label], alpha=0.25, linewidth=0.8)
                values = _running_mean(values, smooth)
            axes.plot(steps, values, "o-" if few else "-", color=colours[label], markersize=3)
        axes.set(title=key, xlabel="epoch" if _is_of_epochs(runs, key) else "iteration")
        axes.grid(alpha=0.3)
        if key.startswith("loss") or "AP" in key:
            axes.set_ylim(0, None)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in list(grid.flat)[len(keys) :]:
        axes.set_axis_off()
    handles = [grid.flat[0].plot([], [], color=colours[label], label=label)[0] for label in runs]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(runs), 4))
    return _save(figure, out_file)


def plot_curves(work_dir: str | Path, out_file: str | Path) -> Path:
    """Draw losses over iterations beside APs over epochs; returns the path of the PNG."""
    losses, aps = read_scalars(work_dir)
    figure = _figure((11, 4.2))
    loss_axes, ap_axes = figure.subplots(1, 2)
    for name, points in losses.items():
        width = 2.4 if name == "loss" else 1.2
        loss_axes.plot(*zip(*points, strict=True), label=LOSS_NAMES[name], linewidth=width)
    loss_axes.set(xlabel="iteration", ylabel="loss", title="Training loss", ylim=(0, None))
    loss_axes.legend()
    for name, points in aps.items():
        label = f"{AP_NAMES[name]}: {points[-1][1]:.3f}"
        ap_axes.plot(*zip(*points, strict=True), "o-", label=label)
    ap_axes.set(xlabel="epoch", ylabel="COCO AP (IoU or OKS .50:.95)", title="AP on the val split")
    ap_axes.set_ylim(0, 1)
    ap_axes.xaxis.get_major_locator().set_params(integer=True)
    if aps:
        ap_axes.legend()
    for axes in (loss_axes, ap_axes):
        axes.grid(alpha=0.3)
    return _save(figure, out_file)


def _entries(files: Iterable[Path]) -> Iterator[dict]:
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a session that was killed while it wrote
            if isinstance(entry, dict) and "step" in entry:
                yield entry


def _series(files: Sequence[Path]) -> Series:
    """By name (step, value), ascending; a later file replaces what an earlier one has of a step."""
    tables: dict[str, dict[int, float]] = {}
    for entry in _entries(files):
        for name, value in entry.items():
            if name not in ("step", "iter", "epoch") and isinstance(value, (int, float)):
                # "time" and "data_time" of a validation are others than those of iterations
                timing = name in ("time", "data_time") and "iter" not in entry
                tables.setdefault(f"val/{name}" if timing else name, {})[int(entry["step"])] = (
                    float(value)
                )
    return {name: sorted(table.items()) for name, table in tables.items()}


def _is_of_epochs(runs: dict[str, Series], key: str) -> bool:
    """Whether the steps of what validations log are epochs: fewer than the iterations logged."""
    if "/" not in key:
        return False
    last = [run[key][-1][0] for run in runs.values() if key in run]
    iterations = [run["loss"][-1][0] for run in runs.values() if key in run and "loss" in run]
    return not iterations or max(last) < min(iterations)


def _running_mean(values: Sequence[float], count: int) -> list[float]:
    """The mean of each value and up to ``count - 1`` before it."""
    return [
        sum(values[max(0, end - count) : end]) / min(end, count)
        for end in range(1, len(values) + 1)
    ]


def _figure(size: tuple[float, float]):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, out_file: str | Path) -> Path:
    out_file = Path(out_file)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_file, dpi=110)
    return out_file
