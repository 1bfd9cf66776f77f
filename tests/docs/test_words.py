"""Words that must not come back: README, pages, docstrings, comments and messages are plain.

The glossary in CONTRIBUTING.md has the terms to use instead.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
WORDS = {
    r"mend(s|ed|ing)?": "fix, repair",
    r"beside": "next to, with",
    r"whatever": "any, regardless of",
    r"ha(s|ve|d) not got": "lacks",
    r"asked of": "compared with, required",
    r"it is said": "a message says",
    r"the rate": "the learning rate",
    r"data sets?": "dataset",
    r"learnt": "learned",
    r"\w*colour\w*": "color",
    r"\w*(normal|optim|quant|initial)is(e|ed|es|ing|ation|ations)": "-ize",
    r"\w*centr(e|es|ed)": "center",
    r"neighbour\w*": "neighbor",
    r"grey": "gray",
    r"\w*labell(ed|ing)": "labeled, labeling",
    r"analys(e|ed|ing)": "analyze",
    r"behaviour": "behavior",
}
FORBIDDEN = re.compile(r"(?<![\w/.-])(" + "|".join(WORDS) + r")(?![\w-])", re.IGNORECASE)
FOLDERS = ["docs", "mmdet_maskr", "configs", "tools"]
FILES = sorted(
    [REPO / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "maskr.py")]
    + [
        path
        for folder in FOLDERS
        for path in (REPO / folder).rglob("*")
        if path.suffix in (".py", ".md", ".html", ".js", ".css")
    ]
)


def forbidden(text: str) -> list[str]:
    """Each forbidden word of a text, with its line's number."""
    return [
        f"line {number}: {match.group(1)}"
        for number, line in enumerate(text.splitlines(), start=1)
        for match in FORBIDDEN.finditer(line)
    ]


def test_files_are_plain():
    found = {
        str(path.relative_to(REPO)): words
        for path in FILES
        if (words := forbidden(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--fix mends a copy", ["line 1: mends"]),
        ("a\nbeside its place, whatever its Colours", ["line 2: beside", "line 2: whatever"]),
        ("what mmdet has not got", ["line 1: has not got"]),
        ("a tenth of the rate", ["line 1: the rate"]),
        ("a normalised data set", ["line 1: normalised", "line 1: data set"]),
        ("recommended: the learning rate of a dataset", []),
    ],
)
def test_what_is_found(text: str, words: list[str]):
    assert forbidden(text)[: len(words)] == words and bool(forbidden(text)) == bool(words)
