"""A figure of a table: each row's difference to the baseline row, ours and the paper's."""

from __future__ import annotations

from pathlib import Path

from mmdet_maskr.ablations.results import Summary
from mmdet_maskr.figures import new_figure, save_figure

OURS, PAPER = "#1f6fb4", "#d1603d"


def draw_differences(summary: Summary, out_file: Path) -> Path:
    """Draw a panel for each column of the table, and return the path of the PNG.

    Ours is the mean over seeds with a bar of one standard deviation, and a small dot for each seed.
    Rows without a difference (the baseline, a column that a row lacks) have no mark.
    """
    table = summary.table
    rows = [row for row in table.rows if table.against(row) is not None]
    columns = [column for column, metric in table.columns.items() if metric is not None]
    figure = new_figure((2.6 + 2.1 * len(columns), 1.5 + 0.5 * len(rows)))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        for y, row in enumerate(rows):
            ours = summary.difference(row, column)
            paper = table.paper_difference(row, column)
            if ours.mean is not None:
                axes.errorbar(
                    ours.mean, y - 0.12, xerr=ours.std, fmt="o", color=OURS, capsize=3, zorder=3
                )
                seeds = list(ours.values.values())
                axes.plot(seeds, [y - 0.12] * len(seeds), ".", color=OURS, alpha=0.4)
            if paper is not None:
                axes.plot(paper, y + 0.16, "D", color=PAPER, markersize=5)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(title=column, xlabel="points of AP")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(rows)), [_label(summary, row) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    handles = [
        panels[0].plot([], [], "o", color=OURS, label=f"ours, --scale {summary.scale}")[0],
        panels[0].plot([], [], "D", color=PAPER, markersize=5, label="the paper")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize="small")
    figure.suptitle(f"{table.title}\ndifference to {table.baseline}", fontsize="medium")
    return save_figure(figure, out_file)


def _label(summary: Summary, row) -> str:
    return row.name if row.against is None else f"{row.name}\n(to {row.against})"
