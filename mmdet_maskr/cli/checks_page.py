"""docs/checks.md from the catalogue: ``python -m mmdet_maskr.cli.checks_page docs/checks.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from mmdet_maskr.cli.page import cell
from mmdet_maskr.coco.check.problems import CATALOGUE, ERROR, NOTE

MARK = "<!-- What follows is written by `python -m mmdet_maskr.cli.checks_page docs/checks.md`. -->"
HEADINGS = {ERROR: "Errors", NOTE: "Notes"}


def update(text: str) -> str:
    """The page with its tables as the catalogue is now."""
    return text.partition(MARK)[0] + MARK + "\n\n" + "\n".join(map(_section, HEADINGS))


def _section(severity: str) -> str:
    rows = [
        f"| `{code}` | {cell(kind.meaning)} | {cell(kind.remedy)} |"
        for code, kind in CATALOGUE.items()
        if kind.severity == severity
    ]
    head = ["| code | what it is | what to do |", "| --- | --- | --- |"]
    return "\n".join([f"## {HEADINGS[severity]}", "", *head, *rows, ""])


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(update(page.read_text(encoding="utf-8")), encoding="utf-8")
