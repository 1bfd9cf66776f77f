"""mask-head and mask-paste run, compare what they say, and write what they print."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from mmdet_maskr.benchmark import mask
from mmdet_maskr.errors import UserError


def run(*args: str) -> None:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    mask.add_mask_head(subparsers)
    mask.add_mask_paste(subparsers)
    parsed = parser.parse_args(args)
    parsed.run(parsed)


def test_mask_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(mask, "ROIS", dict(training=2, inference=1))
    file = tmp_path / "head.json"
    options = ["--repeats", "1", "--no-memory", "--json", str(file)]
    run("mask-head", "--classes", "2", "5", *options)
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == [
        f"{mode}, {count} RoIs, K {k}"
        for mode, count in (("training", 2), ("inference", 1))
        for k in (2, 5)
    ]
    assert all(row["ratio"] > 0 for row in rows)
    monkeypatch.setattr(mask, "_available_memory", lambda: 0)
    run("mask-head", "--classes", "2", "--modes", "inference", *options)
    assert "mmdet was not run (nan): it needs about" in capsys.readouterr().out
    with pytest.raises(UserError, match="--classes must be positive"):
        run("mask-head", "--classes", "0", *options)


def test_mask_paste(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "paste.json"
    options = ["--masks", "4", "--rois", "6", "--gts", "2", "--image", "60", "90", "--check", "30"]
    run("mask-paste", *options, "--repeats", "1", "--json", str(file))
    assert "30 of 30 RLEs of random masks" in capsys.readouterr().out
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == [
        "4 dense masks", "4 RLEs", "6 targets of 2 bitmaps",
    ]  # fmt: skip
    monkeypatch.setattr(mask, "encode_masks", lambda *args: [])
    with pytest.raises(UserError, match="4 RLEs: the results differ from mmdet's"):
        run("mask-paste", *options, "--check", "0", "--repeats", "1")
