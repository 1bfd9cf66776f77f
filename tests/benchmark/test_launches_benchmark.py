"""The subcommand ``launches``: counts of a thin model, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import forked
import pytest
import thin_configs

CONFIG = "maskr_r50_fpn_1x.py"


def test_table_and_file(tmp_path: Path, repo: Path):
    cfg = thin_configs.thin(thin_configs.load(CONFIG), tmp_path)
    cfg.model.test_cfg.rcnn.score_thr = 0.05
    config, found = tmp_path / "thin.py", tmp_path / "counts.json"
    cfg.dump(config)
    options = ("--objects", "3", "6", "--image", "96", "128", "--sites", "3", "--json", found)
    code, output = forked.run_tool(repo / "tools" / "benchmark.py", ["launches", config, *options])
    assert code == 0, output
    rows = json.loads(found.read_text())
    assert [row["case"].split(":")[1].split(",")[0].strip() for row in rows] == [
        "training step",
        "training step",
        "prediction",
    ]
    for row in rows:
        assert row["launches"] > 100
        assert 0 < row["syncs"] < row["launches"]
        assert f"| {row['launches']:,} | {row['syncs']:,} |" in output
    assert output.count(" syncs ") >= 9  # of three places each


@pytest.mark.parametrize("options", [("--objects", "0"), ("--image", "0", "100")])
def test_refuses(options: tuple[str, ...], repo: Path):
    code, output = forked.run_tool(repo / "tools" / "benchmark.py", ["launches", *options])
    assert code == 2
    assert options[0] in output
