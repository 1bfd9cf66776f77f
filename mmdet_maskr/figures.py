"""Figures of matplotlib as PNG files, without its global state."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from mmdet_maskr.atomic_files import write_whole


def new_figure(size: tuple[float, float]) -> Any:
    """An empty figure of matplotlib, of a size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, out_file: str | Path) -> Path:
    """Write a figure as PNG, the same bytes each time; returns the path."""
    content = io.BytesIO()
    figure.savefig(content, dpi=110, metadata={"Software": None})
    write_whole(Path(out_file), content.getvalue())
    return Path(out_file)
