"""Curves show what the Runner logged."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from forked import run_tool

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.curves import (
    _running_mean,
    choose_keys,
    plot_curves,
    plot_runs,
    read_run,
    read_scalars,
)


def log(work_dir: Path, session: str, lines: list[dict], tail: str = "") -> None:
    file = work_dir / session / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(json.dumps(line) for line in lines) + tail)


def test_curves_of_a_resumed_run(tmp_path: Path):
    first = [dict(loss=3.0, loss_cls=1.0, step=10), dict(loss=2.0, loss_cls=0.5, step=20)]
    log(tmp_path, "20260101_000000", first, tail='\n{"loss": 1.9, "st')  # killed while it wrote
    scores = {"coco/segm_mAP": 0.4, "coco/keypoints_mAP": 0.3, "step": 2}
    second = [dict(loss=1.8, loss_cls=0.4, loss_keypoint=1.2, step=20), scores]
    log(tmp_path, "20260101_000100", second)
    losses, aps = read_scalars(tmp_path)
    assert losses == dict(
        loss=[(10, 3.0), (20, 1.8)], loss_cls=[(10, 1.0), (20, 0.4)], loss_keypoint=[(20, 1.2)]
    )
    assert aps == {"coco/segm_mAP": [(2, 0.4)], "coco/keypoints_mAP": [(2, 0.3)]}
    picture = cv2.imread(str(plot_curves(tmp_path, tmp_path / "curves.png")))
    assert picture.shape[1] > 2 * picture.shape[0]


def test_curves_of_nothing(tmp_path: Path):
    with pytest.raises(UserError, match="no losses were logged"):
        read_scalars(tmp_path)


def test_several_runs(tmp_path: Path):
    """Keys by pattern, a later session over an earlier one, and times of validation apart."""
    log(tmp_path / "a", "20260101_000000", [dict(loss=3.0, time=0.5, iter=10, step=10)])
    log(tmp_path / "a", "20260101_000100", [
        dict(loss=2.5, loss_cls=1.0, time=0.4, iter=10, step=10),
        {"coco/bbox_mAP": 0.3, "time": 9.0, "step": 1},
    ])  # fmt: skip
    log(tmp_path / "b", "20260101_000000", [dict(loss=4.0, iter=10, step=10)])
    runs = dict(a=read_run(tmp_path / "a"), b=read_run(tmp_path / "b" / "20260101_000000"))
    assert runs["a"] == {
        "loss": [(10, 2.5)], "time": [(10, 0.4)], "loss_cls": [(10, 1.0)],
        "coco/bbox_mAP": [(1, 0.3)], "val/time": [(1, 9.0)],
    }  # fmt: skip
    file = tmp_path / "b" / "20260101_000000" / "vis_data" / "scalars.json"
    assert read_run(file) == runs["b"] == {"loss": [(10, 4.0)]}
    keys = choose_keys(runs.values(), ["coco/*_mAP", "loss*"])
    assert keys == ["coco/bbox_mAP", "loss", "loss_cls"]
    narrow = cv2.imread(str(plot_runs(runs, keys[:1], tmp_path / "one.png")))
    wide = cv2.imread(str(plot_runs(runs, keys, tmp_path / "out" / "three.png", smooth=3)))
    assert wide.shape[1] > 2 * narrow.shape[1]
    with pytest.raises(UserError, match=r"no run has logged 'lr'; there are coco/bbox_mAP, loss"):
        choose_keys(runs.values(), ["lr"])
    with pytest.raises(UserError, match="nothing was logged in"):
        read_run(tmp_path)


def test_validations_of_a_training_that_counts_iterations(tmp_path: Path):
    """mmengine logs them all at step 0, its epoch: they stand where the training was."""
    entries = [dict(loss=3.0, iter=10, step=10), {"coco/bbox_mAP": 0.1, "step": 0},
               dict(loss=2.0, iter=20, step=20), {"coco/bbox_mAP": 0.2, "step": 0}]  # fmt: skip
    log(tmp_path, "20260101_000000", entries)
    assert read_run(tmp_path)["coco/bbox_mAP"] == [(10, 0.1), (20, 0.2)]


def test_running_means():
    assert _running_mean([1, 2, 3, 4], 2) == [1, 1.5, 2.5, 3.5]


def test_the_tool(repo: Path, tmp_path: Path):
    log(tmp_path / "a", "20260101_000000", [dict(loss=3.0, iter=10, step=10)])
    log(tmp_path / "b", "20260101_000000", [dict(loss=4.0, iter=10, step=10)])

    def run(*options: str) -> tuple[int, str]:
        return run_tool(repo / "tools" / "plot_logs.py", options, tmp_path)

    code, output = run("a", "b", "--out", "out/curves.png")
    assert code == 0, output
    assert "1 panels of 2 runs: out/curves.png" in output
    assert (tmp_path / "out" / "curves.png").is_file()
    assert "loss: 1 values, the last 3" in run("a", "--list")[1]
    for options, message in (
        (["a", "a"], "the same run is named twice"),
        (["a", "b", "--labels", "x"], "--labels needs 2 different names"),
        (["a", "--keys", "nonsense"], "no run has logged 'nonsense'"),
        (["a", "--out", "curves.txt"], "must end in .png"),
    ):
        code, output = run(*options)
        assert code == 2 and message in output


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"\xff{}", "line 2: byte 0xff is not UTF-8"),
        (b"{,}", "line 2, column 2: "),
        (b'{"a": "\\ud800"}', "line 2"),
        (b"[" * 100_000, "line 2"),
    ],
    ids=["bytes", "JSON", "text", "depth"],
)
def test_a_damaged_line_is_named_once(tmp_path: Path, bad: bytes, message: str):
    log(tmp_path, "20260101_000000", [dict(loss=1.0, step=1)] * 3)
    file = next(tmp_path.rglob("scalars.json"))
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0], bad, lines[2]]))
    with pytest.raises(UserError, match=rf"scalars\.json, {message}") as caught:
        read_run(tmp_path)
    assert str(caught.value).count("line 2") == 1
