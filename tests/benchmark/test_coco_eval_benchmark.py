"""coco-eval runs every installed backend, checks that numbers are equal, writes what it prints."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from mmdet_maskr.benchmark import coco_eval
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.backends import REFERENCE, installed

SMALL = ["coco-eval", "--images", "3", "--detections", "8", "--classes", "3", "--repeats", "1"]
FASTER = [name for name in installed() if name != REFERENCE]


def run(*args: str) -> None:
    parser = argparse.ArgumentParser()
    coco_eval.add_coco_eval(parser.add_subparsers())
    parsed = parser.parse_args(args)
    parsed.run(parsed)


def test_a_row_for_each_case_and_contender(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "eval.json"
    cases = ("boxes", "masks", "boxes-and-masks", "keypoints")
    run(*SMALL, "--no-memory", "--cases", *cases, "--json", str(file))
    content = json.loads(file.read_text())
    assert content["peer"] == REFERENCE
    assert [row["case"] for row in content["rows"]] == [
        f"{case}, {name}"
        for case in cases
        for name in [*FASTER, *(["mmdet"] if case != "keypoints" else [])]
    ]
    assert all(row["largest_difference"] < 1e-12 and row["ratio"] > 0 for row in content["rows"])
    assert "all numbers are those of pycocotools" in capsys.readouterr().out


def test_other_numbers_and_bad_options_are_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="must be positive, got 0, 8, 3"):
        run(*SMALL, "--images", "0")

    class Other(coco_eval.CocoMetric):
        def compute_metrics(self, results: list) -> dict[str, float]:
            scores = super().compute_metrics(results)
            return {**scores, "bbox_mAP_50": scores["bbox_mAP_50"] + 0.001}

    monkeypatch.setattr(coco_eval, "CocoMetric", Other)
    with pytest.raises(UserError, match=r"boxes: a number of mmdet differs .* by 0.001"):
        run(*SMALL, "--cases", "boxes")


def test_the_fastest_alone(tmp_path: Path, capsys: pytest.CaptureFixture):
    run(*SMALL, "--alone", "--cases", "boxes-and-masks", "keypoints")
    said = capsys.readouterr().out
    for case in ("boxes-and-masks", "keypoints"):
        assert re.search(rf"^{case}, {installed()[0]}: \d+\.\d\d s ", said, re.MULTILINE)
    with pytest.raises(UserError, match="--json"):
        run(*SMALL, "--alone", "--json", str(tmp_path / "a.json"))
