"""The error analysis as a figure: the cost of each kind, and confused classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmdet_maskr.evaluation.error_analysis.analysis import KINDS
from mmdet_maskr.evaluation.error_analysis.split import ERRORS, FALSE_NEGATIVE, FALSE_POSITIVE
from mmdet_maskr.figures import new_figure, save_figure

COLORS = dict(
    Cls="#d1603d", Loc="#1f6fb4", Both="#8c6bb1", Dupe="#e3a72f", Bkg="#5b8c5a", Miss="#7f7f7f",
    FP="#3b3b3b", FN="#3b3b3b",
)  # fmt: skip
NAMED_CLASSES = 30  # more names than this cannot be read
MOST_CONFUSED = 20  # of more classes, those that are confused most are shown


def draw_errors(analyses: Mapping[str, Mapping], out_file: str | Path) -> Path:
    """Draw a row of two panels for boxes, masks and keypoints; returns the path of the PNG.

    Left, how much AP rises if one kind of error is fixed. Right, the confusion matrix: of the
    objects of each class (row), the share that was detected as each class (column); of many
    classes, those that are confused most.

    Args:
        analyses: by kind, of :func:`mmdet_maskr.evaluation.error_analysis.analysis.analyze`.
        out_file: path of the PNG.
    """
    shown = {kind: _most_confused(analysis) for kind, analysis in analyses.items()}
    sides = [max(3.6, 1.6 + 0.36 * (len(names) + 1)) for names, _ in shown.values()]
    figure = new_figure((6.2 + max(sides) + 1.2, sum(sides) + 0.5))
    grid = figure.subplots(
        len(analyses), 2, squeeze=False,
        gridspec_kw=dict(width_ratios=[5.2, max(sides) + 1.2], height_ratios=sides),
    )  # fmt: skip
    for (kind, analysis), row in zip(analyses.items(), grid, strict=True):
        _draw_gains(row[0], kind, analysis)
        _draw_confusion(row[1], kind, *shown[kind], analysis["thresholds"]["score"])
    return save_figure(figure, out_file)


def _draw_gains(axes, kind: str, analysis: Mapping) -> None:
    errors, threshold = analysis["errors"], analysis["thresholds"]["foreground"]
    names = [*ERRORS, FALSE_POSITIVE, FALSE_NEGATIVE]
    values = [100 * (errors["gains"][name] or 0.0) for name in names]
    places = [*range(len(ERRORS)), len(ERRORS) + 0.6, len(ERRORS) + 1.6]
    axes.barh(places, values, color=[COLORS[name] for name in names], height=0.72)
    labels = {FALSE_POSITIVE: "all false positives", FALSE_NEGATIVE: "all misses"}
    for place, name, value in zip(places, names, values, strict=True):
        count = f" ({errors['counts'][name]})" if name in errors["counts"] else ""
        axes.annotate(
            f"{value:+.1f}{count}", (max(value, 0), place), (4, 0), textcoords="offset points",
            va="center", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(places, [labels.get(name, name) for name in names])
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.set_xlim(min(0.0, *values), 1.3 * max(1.0, *values))
    axes.axhline(len(ERRORS) - 0.2, color="black", linewidth=0.5)
    measure = "OKS" if kind == "keypoints" else "IoU"
    ap = "-" if errors["ap"] is None else f"{100 * errors['ap']:.1f}"
    axes.set_title(f"{KINDS[kind]}: AP at {measure} {threshold:g} is {ap}")
    axes.set_xlabel("points of AP that fixing it gains (number of errors)")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_confusion(axes, kind: str, names: list[str], matrix: np.ndarray, score: float) -> None:
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    shares[-1] = 0  # detections of nothing have no whole to be a share of
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            ink = "white" if shares[row, column] > 0.55 else "black"
            size = 8 if len(names) <= 12 else 6
            axes.text(column, row, str(value), ha="center", va="center", color=ink, fontsize=size)
    places = range(len(names) + 1)
    axes.set_xticks(places, [*names, "missed"], rotation=45, ha="right", fontsize=8)
    axes.set_yticks(places, [*names, "nothing there"], fontsize=8)
    axes.set(xlabel="detected as", ylabel="is")
    axes.set_title(f"{KINDS[kind]}: confusion at scores from {score:g}")
    axes.axhline(len(names) - 0.5, color="black", linewidth=0.8)
    axes.axvline(len(names) - 0.5, color="black", linewidth=0.8)


def _most_confused(analysis: Mapping) -> tuple[list[str], np.ndarray]:
    """Names and matrix, of many classes those that take most part in confusions."""
    names, matrix = list(analysis["classes"]), np.array(analysis["confusion"])
    if len(names) <= NAMED_CLASSES:
        return names, matrix
    between = matrix[:-1, :-1].copy()
    np.fill_diagonal(between, 0)
    order = np.argsort(-(between.sum(0) + between.sum(1)), kind="stable")[:MOST_CONFUSED]
    chosen = np.sort(order)
    rows = np.append(chosen, len(names))
    return [names[k] for k in chosen], matrix[np.ix_(rows, rows)]
