"""Messages name commands that the user can type."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mmdet_maskr.cli import spelling

# Scripts that are not a command, and what a checkout's own generated pages name.
SCRIPTS = ("install_mmcv", "make_model_index", "dist_train", "dist_test", "run_tests")
OF_CHECKOUTS = ("ablations", "catalogue/guide.py", "cli/arguments")


@pytest.mark.parametrize(
    ("place", "said"),
    [("/usr/bin/maskr", "`maskr check FILE`"), (None, "`python -m mmdet_maskr check FILE`")],
)
def test_where_maskr_is_and_is_not_on_the_path(
    monkeypatch: pytest.MonkeyPatch, place: str | None, said: str
):
    monkeypatch.setattr(spelling.shutil, "which", lambda name: place)
    spelling._program.cache_clear()
    assert spelling.call("check FILE") == said
    spelling._program.cache_clear()


def test_no_message_names_a_script_that_a_wheel_lacks(repo: Path):
    found = []
    for path in sorted((repo / "mmdet_maskr").rglob("*.py")):
        name = path.relative_to(repo / "mmdet_maskr").as_posix()
        if name.startswith(OF_CHECKOUTS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.findall(r"\btools/(\w+)\.py", node.value)
                found += [f"{name}: {script}" for script in named if script not in SCRIPTS]
    assert not found
