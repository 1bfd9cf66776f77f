"""The page of a report: its parts in one HTML file that loads nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mmdet_maskr.html_pages import content_policy


def render(content: dict[str, Any]) -> str:
    """The page as text; every text of the content is escaped.

    Args:
        content: ``title``, ``made`` (a date), ``refresh`` (seconds, or None), and for each section
            that is there what page.html.j2 takes.
    """
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
        **content,
    )


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
