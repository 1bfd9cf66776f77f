"""keypoint-decode runs, checks that the points are equal, and writes what it prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmdet_maskr.benchmark import keypoint_decode
from mmdet_maskr.errors import UserError

SMALL = ["keypoint-decode", "--boxes", "3", "--keypoints", "2", "--repeats", "1", "--no-memory"]


def run(*args: str) -> None:
    parser = argparse.ArgumentParser()
    keypoint_decode.add_keypoint_decode(parser.add_subparsers())
    parsed = parser.parse_args(args)
    parsed.run(parsed)


def test_writes_a_row_for_each_case(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "decode.json"
    run(*SMALL, "--sides", "10", "30", "--sides", "150", "200", "--json", str(file))
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == [
        f"{kind}, 3 boxes of {sides}, K 2"
        for sides in ("10 to 30", "150 to 200")
        for kind in ("blobs", "smooth", "noise")
    ]
    assert all(row["equal_points"] == 6 and row["ratio"] > 0 for row in rows)
    assert all(row["max_score_difference"] < 1e-4 for row in rows)
    assert "all points are equal" in capsys.readouterr().out


def test_different_points_and_bad_options_are_refused(monkeypatch: pytest.MonkeyPatch):
    for options, message in (
        (["--boxes", "0"], "--boxes and --keypoints must be positive, got 0, 2"),
        (["--sides", "30", "10"], "--sides must be 0 < LOW <= HIGH, got 30 10"),
    ):
        with pytest.raises(UserError, match=message):
            run(*SMALL, *options)

    def shifted(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points, peaks, scores = keypoint_decode.decode_by_loop(logits, boxes)
        points[0, 0] += torch.tensor([1.0, 0.0])
        return points, peaks, scores

    monkeypatch.setitem(keypoint_decode.DECODERS, "ours", shifted)
    with pytest.raises(UserError, match="blobs, 3 boxes of 10 to 30, K 2: 1 of 6 points differ"):
        run(*SMALL, "--sides", "10", "30")
