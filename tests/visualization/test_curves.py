"""Curves show what the Runner logged."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.curves import plot_curves, read_scalars


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
