"""benchmark.py export: every form is timed, and finds what stock mmdet finds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from mmdet_maskr.benchmark.export import add_export


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    add_export(parser.add_subparsers())
    args = parser.parse_args(["export", *arguments])
    args.run(args)


def test_forms_of_the_mini_model(tmp_path: Path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("nncf")
    file = tmp_path / "export.json"
    run(
        *("--model", "mini", "--size", "96", "128", "--forms", "onnx", "int8", "--repeats", "1"),
        *("--calibration-images", "1", "--threads", "1", "--json", str(file)),
    )
    rows = {row["case"]: row for row in json.loads(file.read_text())["rows"]}
    assert list(rows) == ["ours", "onnx", "int8"]
    for name in ("ours", "onnx"):
        assert rows[name]["expected"] >= 10
        assert rows[name]["matched"] >= rows[name]["expected"] - 1
        assert rows[name]["score"] < 1e-3
    assert rows["int8"]["found"] > 0 and rows["int8"]["ours"]["median"] > 0
    assert "detections matched" in capsys.readouterr().out
