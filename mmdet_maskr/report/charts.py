"""Charts as SVG for a page: they take its colors, light or dark, and stay sharp at any size."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40  # around the plot
MOST_POINTS = 400  # of a line; a screen shows no more


class Line(NamedTuple):
    """A line of a chart.

    Args:
        name: for the legend.
        points: (x, y); those that are not finite are left out.
        color: 1 to 6 of the page's chart colors.
        bold: whether it is wider.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: int
    bold: bool = False


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_name: str,
    y_range: tuple[float, float] | None = None,
    diagonal: bool = False,
) -> Markup:
    """Lines over a common axis, with a legend.

    Args:
        title: what a screen reader says.
        lines: at least one point in all.
        x_name: name of the axis.
        y_range: None from 0 to the largest value.
        diagonal: draw y = x, what would be perfect.
    """
    # 1. the ranges of both axes
    kept = [
        line._replace(points=_thinned([p for p in line.points if all(map(math.isfinite, p))]))
        for line in lines
    ]
    kept = [line for line in kept if line.points]
    if not kept:
        return Markup("")
    xs = [x for line in kept for x, _ in line.points]
    ys = [y for line in kept for _, y in line.points]
    x_low, x_high = (0.0, 1.0) if diagonal else (min(xs), max(xs))
    x_high = x_high if x_high > x_low else x_low + 1
    y_low, y_high = y_range or (0.0, _round_up(max(ys)))

    def at(x: float, y: float) -> str:
        px = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        share = min(max((y - y_low) / (y_high - y_low), 0), 1)
        return f"{px:.1f},{HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM):.1f}"

    # 2. grid, ticks and the name of the axis
    parts = []
    for value in _ticks(y_low, y_high):
        y = at(x_low, value).split(",")[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" class="end">{_text(value)}</text>'
        )
    for value in _ticks(x_low, x_high):
        x = at(value, y_low).split(",")[0]
        parts.append(
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" class="middle">{_text(value)}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" class="middle">'
        f"{html.escape(x_name)}</text>"
    )
    # 3. lines, and dots where there are few
    if diagonal:
        parts.append(f'<polyline class="ideal" points="{at(0, 0)} {at(1, 1)}"/>')
    for line in kept:
        points = " ".join(at(x, y) for x, y in line.points)
        css = f"line c{line.color}" + (" bold" if line.bold else "")
        parts.append(f'<polyline class="{css}" points="{points}"/>')
        if len(line.points) <= 40:
            for x, y in line.points:
                cx, cy = at(x, y).split(",")
                parts.append(f'<circle class="dot c{line.color}" cx="{cx}" cy="{cy}" r="3"/>')
    # 4. legend
    legend = "".join(
        f'<li class="c{line.color}">{html.escape(line.name)}</li>' for line in kept if line.name
    )
    return Markup(
        f'<figure class="chart"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
        f'<figcaption><strong>{html.escape(title)}</strong><ul class="legend">{legend}</ul>'
        "</figcaption></figure>"
    )


def _text(value: float) -> str:
    """A number as short as it goes: 0.25, 1.5e-4."""
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    step = -(-len(points) // MOST_POINTS)
    return points if step <= 1 else [*points[::step], *points[-1:]]


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def _ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers between two."""
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]
