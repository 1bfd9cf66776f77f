"""The HTML of a report: one file that loads nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mmdet_maskr.html_pages import content_policy

# What a page may have: the sections of page.html.j2, none of them. ``refresh`` is in seconds.
NOTHING: dict[str, Any] = dict(
    refresh=None, notes=(), tiles=(), data=None, examples=(), examples_title="", charts=(),
    live=None, live_step=None, scores=None, points=None, points_of="", measure="",
    point_charts=(), calibration_text="", errors=None, errors_ap=None, confusions=(), worst=None,
    suspicious=None, commands=None, speed="", files=(), sources=(),
)  # fmt: skip


def render(content: Mapping[str, Any]) -> str:
    """The page as text; every text of the content is escaped.

    Args:
        content: ``title``, ``made`` (a date), and what there is of :data:`NOTHING`.
    """
    content = {**NOTHING, **content}
    style, script = _part("page.css"), _part("page.js")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(percent=percent, number=number, plain=plain)
    template = environment.from_string(_part("page.html.j2"))
    return template.render(
        policy=content_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        sections=sections_of(content),
        **content,
    )


def sections_of(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Anchors and names of the sections that the page will have."""
    every = (
        ("data", "Data", content["data"] or content["examples"]),
        ("curves", "Training", content["charts"]),
        ("live", "Validation images", content["live"]),
        ("scores", "AP", content["scores"]),
        ("threshold", "Thresholds", content["points"]),
        ("errors", "Errors", content["errors"]),
        ("worst", "Worst images", content["worst"]),
        ("labels", "Labels", content["suspicious"] is not None),
        ("use", "Use", content["commands"]),
    )
    return [(anchor, name) for anchor, name, there in every if there]


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    """A score with two decimals; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def plain(value: int) -> str:
    """A count with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u2009")


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
