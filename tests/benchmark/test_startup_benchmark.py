"""startup measures both datasets in processes of their own, and writes what it prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from mmdet_maskr.benchmark import startup
from mmdet_maskr.errors import UserError

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").is_file(), reason="needs Linux's PSS"
)


def run(*args: str) -> None:
    parser = argparse.ArgumentParser()
    startup.add_startup(parser.add_subparsers())
    parsed = parser.parse_args(["startup", *args])
    parsed.run(parsed)


@pytest.mark.slow
def test_a_row_for_each_start(tmp_path: Path):
    file = tmp_path / "rows.json"
    run("--images", "30", "--ranks", "1", "--workers", "1", "--json", str(file))
    rows = json.loads(file.read_text())["rows"]
    assert [(row["dataset"], row["start"]) for row in rows] == [
        (startup.OURS, "first"),
        (startup.OURS, "second"),
        (startup.STOCK, "each"),
    ]
    assert all(row["seconds"] > 0 and row["images"] == 30 for row in rows)
    assert all(0 < row["cpu_seconds"] < 60 for row in rows)


def test_bad_options():
    with pytest.raises(UserError, match="--images"):
        run("--images", "0")
