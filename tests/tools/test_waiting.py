"""Tools bound how long OpenMP's threads spin, before torch is loaded and unless the user chose."""

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
    print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize("tool", ["train.py", "test.py", "benchmark.py"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000"),
        (dict(GOMP_SPINCOUNT="7"), "7"),
        (dict(OMP_WAIT_POLICY="active"), "None"),
    ],
)
def test_before_torch_is_loaded(repo: Path, tool: str, given: dict[str, str], expected: str):
    chosen = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "PYTHONPATH")
    own = {key: value for key, value in os.environ.items() if key not in chosen}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(repo / "tools" / tool)],
        env={**own, **given},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == expected, done.stderr
