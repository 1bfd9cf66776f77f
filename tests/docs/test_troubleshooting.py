"""What docs/troubleshooting.md quotes is what the code says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmdet_maskr import compat

SECTIONS = (
    "mmcv-version",
    "mmcv-ext",
    "registry",
    "num-classes",
    "empty",
    "nan",
    "mask",
    "file",
    "size-mismatch",
    "memory",
)
SECOND_QUOTE = {"empty-misspelt": "empty"}  # by the name of the run, the section that has it


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, repo: Path, shapes_root: Path) -> dict[str, str]:
    """What each of the runs printed."""
    folder = tmp_path_factory.mktemp("wrong_runs")
    (folder / "data" / "shapes" / "annotations").mkdir(parents=True)
    for path in (*shapes_root.glob("annotations/*"), shapes_root / "train", shapes_root / "val"):
        (folder / "data" / "shapes" / path.relative_to(shapes_root)).symlink_to(path)
    for name in ("configs", "tools"):
        (folder / name).symlink_to(repo / name)
    script = repo / "tests" / "docs" / "wrong_runs.py"
    env = {**os.environ, "PYTHONPATH": str(repo)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "said.json").read_text())


def quotes(repo: Path) -> dict[str, list[str]]:
    """The text blocks of each numbered section, by the section's id."""
    page = (repo / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    parts = re.split(r"^## \d+\. .*\{ #([\w-]+) \}$", page, flags=re.MULTILINE)
    return {
        name: re.findall(r"^```text\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def fits(quote: str, message: str) -> bool:
    """Whether a quote is the message: white space is alike, and ``...`` stands for anything.

    The page says ``maskr`` also where this environment has to say ``python -m mmdet_maskr``.
    """
    message = message.replace("python -m mmdet_maskr ", "maskr ")
    words = [re.escape(" ".join(part.split())) for part in quote.split("...")]
    return re.fullmatch(r"\s*.*?\s*".join(words), " ".join(message.split())) is not None


def test_ten_sections(repo: Path):
    assert tuple(quotes(repo)) == SECTIONS


@pytest.mark.parametrize("name", [*SECTIONS, *SECOND_QUOTE])
@pytest.mark.slow
def test_message_is_quoted(name: str, said: dict[str, str], repo: Path):
    if name.startswith("mmcv") and compat.check_dependencies() != "openmmlab":
        pytest.skip("the page quotes the versions of OpenMMLab's stack")
    found = quotes(repo)[SECOND_QUOTE.get(name, name)]
    assert any(fits(quote, said[name]) for quote in found), said[name]


def test_quotes_are_compared():
    assert fits("error: a ... b\nc.", "error: a 1 2 3 b c.")
    assert fits("(...\nfailed", "(it failed")
    assert not fits("error: a ... b", "error: a 1 2 3 c")
    assert not fits("error: a", "error: a b")
