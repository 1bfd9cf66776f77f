"""Curves of a training, as charts for a page."""

from __future__ import annotations

from pathlib import Path

from mmdet_maskr.report.charts import Line, line_chart
from mmdet_maskr.visualization.curves import (
    AP_NAMES,
    LOSS_NAMES,
    SCALARS,
    Series,
    is_of_epochs,
    read_run,
)


def training_charts(work_dir: Path) -> list:
    """Losses, scores and learning rate of a run; nothing where nothing was logged."""
    if not any(work_dir.glob(f"*/{SCALARS}")):
        return []
    return charts_of(read_run(work_dir))


def charts_of(run: Series) -> list:
    """Charts of what :func:`.read_run` gives."""
    losses = [
        Line(name, run[key], 1 + i % 6, key == "loss")
        for i, (key, name) in enumerate(LOSS_NAMES.items())
        if key in run
    ]
    scored = [key for key in run if key.endswith("_mAP")]
    scores = [
        Line(AP_NAMES.get(key, key), [(x, max(y, 0)) for x, y in run[key]], i)
        for i, key in enumerate(scored[:6], start=1)
    ]
    rate = [Line("", run["lr"], 1)] if "lr" in run else []
    of_epochs = bool(scored) and is_of_epochs({"": run}, scored[0])
    axis = "epoch" if of_epochs else "iteration"
    charts = [
        line_chart("Training loss", losses, "iteration"),
        line_chart("AP in validation", scores, axis),
        line_chart("Learning rate", rate, "iteration"),
    ]
    return [chart for chart in charts if chart]
