"""benchmark.py data times every transform of three pipelines, and what workers give."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from mmdet_maskr.benchmark import data
from mmdet_maskr.errors import UserError


def run(*args: str) -> None:
    parser = argparse.ArgumentParser()
    data.add_data(parser.add_subparsers())
    parsed = parser.parse_args(args)
    parsed.run(parsed)


def test_rows(coco_mini: Path, repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "data.json"
    root = ["--root", str(coco_mini), "--images", "val2017"]
    options = [*root, "--ann", "annotations/instances_val2017.json", "--limit", "2"]
    config = str(repo / "configs/maskr_r50_fpn_1x.py")
    run("data", *options, "--config", config, "--repeats", "1", "--workers", "1",
        "--json", str(file))  # fmt: skip
    rows = {row["case"]: row for row in json.loads(file.read_text())["rows"]}
    assert [case for case in rows if case.startswith("- ")] == [
        f"- {step}" for step in ("LoadImageFromFile", "LoadInstanceAnnotations", "Resize",
                                 "RandomFlip", "PackInstanceInputs")
    ]  # fmt: skip
    assert {"a sample", "a sample, mmdet, polygons", "a sample, image alone"} <= set(rows)
    sizes = rows["a sample"]["megabytes"]
    assert sizes["ours"]["besides"] < 0.3 < sizes["mmdet"]["besides"]
    assert set(rows["workers 1, a sample"]["images_a_second"]) == set(data.MASKS)
    assert "images a second" in capsys.readouterr().out
    with pytest.raises(UserError, match="must be positive"):
        run("data", *options, "--limit", "0")
    shapes = str(repo / "configs/mini/maskr_shapes.py")
    with pytest.raises(UserError, match="no LoadInstanceAnnotations"):
        run("data", *options, "--config", shapes)
