"""Tools let OpenMP's threads wait passively before torch is loaded, unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, runpy, sys
class Found(BaseException): pass
class Finder:  # ends where torch would be loaded
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "mmdet_maskr", "mmengine", "mmdet"):
            raise Found
sys.meta_path.insert(0, Finder())
try:
    runpy.run_path(sys.argv[1], run_name="__main__")
except Found:
    print(os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize("tool", ["train.py", "test.py", "benchmark.py"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "passive"),
        (dict(OMP_WAIT_POLICY="active"), "active"),
    ],
)
def test_before_torch_is_loaded(repo: Path, tool: str, given: dict[str, str], expected: str):
    own = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(repo / "tools" / tool)],
        env={**own, **given},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == expected, done.stderr
