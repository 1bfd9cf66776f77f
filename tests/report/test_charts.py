"""Charts: points where they belong, round numbers on the axes, nothing that is not finite."""

from __future__ import annotations

import math
import re

from mmdet_maskr.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, line_chart


def test_points_are_where_they_belong():
    """The corners of the plot, and the middle."""
    text = str(line_chart("t", [Line("a", [(0, 0), (5, 1), (10, 2)], 1)], "x"))
    points = [tuple(map(float, p.split(","))) for p in
              re.search(r'class="line c1" points="([^"]+)"', text)[1].split()]  # fmt: skip
    low, high = HEIGHT - BOTTOM, TOP
    assert points == [
        (LEFT, low), ((LEFT + WIDTH - RIGHT) / 2, (low + high) / 2), (WIDTH - RIGHT, high),
    ]  # fmt: skip


def test_axes_have_round_numbers():
    def texts(chart: str, css: str) -> list[str]:
        return re.findall(rf'class="{css}">([^<]+)</text>', chart)

    rates = str(line_chart("t", [Line("", [(1, 2e-5), (600, 1.4e-4)], 1)], "iteration"))
    assert texts(rates, "end") == ["0", "5e-5", "1e-4", "1.5e-4"]
    assert texts(rates, "middle") == ["200", "400", "600", "iteration"]
    shares = str(line_chart("t", [Line("", [(0.2, 0.1)], 1)], "score", (0, 1), diagonal=True))
    assert texts(shares, "end") == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_what_is_not_finite_is_left_out():
    line = Line("a<b", [(1, math.nan), (2, 1.0), (3, math.inf)], 1)
    text = str(line_chart("t & u", [line], "x"))
    assert "nan" not in text and "inf" not in text
    assert "a&lt;b" in text and "t &amp; u" in text
    assert str(line_chart("t", [Line("a", [(1, math.nan)], 1)], "x")) == ""


def test_long_runs_are_thinned():
    text = str(line_chart("t", [Line("a", [(i, 1.0) for i in range(10**5)], 1)], "x"))
    assert len(text) < 20_000 and "circle" not in text
