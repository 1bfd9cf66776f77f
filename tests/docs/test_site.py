"""The site builds without a warning, and works without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Path:
    for name in ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python"):
        pytest.importorskip(name, reason="needs the packages of requirements-test.txt")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=repo, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_built(site: Path, repo: Path):
    pages = {p.relative_to(repo / "docs").with_suffix("") for p in (repo / "docs").rglob("*.md")}
    assert {p.relative_to(site).with_suffix("") for p in site.rglob("*.html")} == {
        *pages,
        Path("404"),
    }


def test_nothing_is_loaded_from_the_net(site: Path):
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", html)
        loaded = [tag for tag in tags if re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag)]
        assert loaded == []


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("learning rate", "faq.html#learning-rate"),
        ("class order", "faq.html#class-order"),
        ("out of memory", "faq.html#out-of-memory"),
        ("no GPU", "faq.html#no-gpu"),
        ("resume", "faq.html#resume"),
        ("box-not-mask", "checks.html#errors"),
    ],
)
def test_search_finds(site: Path, words: str, page: str):
    """The section that answers has the words in its title; in its text, if no title has them."""
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    wanted = set(words.lower().split())
    titles = {entry["location"]: entry["title"].lower() for entry in index["docs"]}
    by_title = [at for at, title in titles.items() if wanted <= set(re.findall(r"[\w-]+", title))]
    by_text = [entry["location"] for entry in index["docs"] if words in entry["text"]]
    assert page in (by_title or by_text)


def test_reference_has_the_ops(site: Path):
    html = (site / "api" / "ops.html").read_text(encoding="utf-8")
    for name in ("roi_align.roi_align", "roi_pool.roi_pool", "keypoint_decode.decode_heatmaps"):
        assert f'id="mmdet_maskr.ops.{name}"' in html
    assert not re.search(r":(?:func|class|mod|meth):", html)
