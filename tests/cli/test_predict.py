"""``maskr predict``: what it writes and prints, and how it ends."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

import maskr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare"))
from small_models import write_model

from mmdet_maskr.datasets.formats import read_folder
from mmdet_maskr.datasets.formats.output import annotation_of
from mmdet_maskr.datasets.shapes.meta import CLASSES
from mmdet_maskr.inference.video import VideoFrames


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Config and weights that find six objects on any photo."""
    text = write_model(tmp_path_factory.mktemp("model"), "shapes", 0)
    config, _, weights = text.rpartition(":")
    return config, weights


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (64, 80, 3), np.uint8))
    return folder


def predict(model: tuple[str, str], *words: object) -> int:
    config, weights = model
    options = ["--config", config, "--weights", weights, "--device", "cpu", "--score-thr", "0"]
    try:
        maskr.main(["predict", *map(str, words), *options])
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def test_folder(model, photos: Path, tmp_path: Path, capsys):
    """Pictures and predictions of each photo; the summary counts what the files hold."""
    out = tmp_path / "out"
    assert predict(model, photos, "--out-dir", out, "--batch-size", "2", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == 2 and summary["failed"] == {} and summary["seconds"] > 0
    assert sorted(p.name for p in (out / "vis").iterdir()) == ["a.png", "b.png"]
    labels = []
    for name in ("a", "b"):
        labels += json.loads((out / "preds" / f"{name}.json").read_text())["labels"]
    expected = {CLASSES[label]: labels.count(label) for label in sorted(set(labels))}
    assert len(labels) == 12 and summary["detections"] == expected
    assert summary["files"]["pictures"] == str(out / "vis")


def test_unreadable_photo(model, photos: Path, tmp_path: Path, capsys):
    """Named, left out, exit code 1; the others are done."""
    (photos / "c.png").write_text("no image")
    out = tmp_path / "out"
    assert predict(model, photos / "*.png", "--out-dir", out, "--no-save-pred") == 1
    captured = capsys.readouterr()
    assert "2 images, 12 detections" in captured.out
    assert "c.png" in captured.err
    assert sorted(p.name for p in out.iterdir()) == ["vis"]


def test_coco_json(model, photos: Path, tmp_path: Path, capsys):
    file = tmp_path / "found.json"
    out = tmp_path / "out"
    options = ("--out-dir", out, "--no-save-vis", "--no-save-pred", "--coco-json", file)
    assert predict(model, photos / "a.png", *options) == 0
    assert "1 images, 6 detections" in capsys.readouterr().out
    assert not out.exists() and len(json.loads(file.read_text())) == 6


def test_labels_for_annotation_tools(model, photos: Path, tmp_path: Path, capsys):
    """What the model has found, read back from each; then labels are there, and are not lost."""
    out = tmp_path / "out"
    options = ("--out-dir", out, "--no-save-vis", "--outputs", "boxes", "masks", "keypoints")
    assert predict(model, photos, *options, "--write", "coco", "labelme", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["files"]["coco"] == str(out / "coco")
    figures = summary["detections"].get("figure", 0)
    expected = {"keypoints of an object": figures} if figures else {}
    assert summary["left_out"] == dict(coco={}, labelme=expected)
    for kind in ("coco", "labelme"):
        found = read_folder(out / kind)
        assert [photo.path.name for photo in found.photos] == ["a.png", "b.png"]
        for photo in found.photos:
            raw = json.loads((out / "preds" / f"{photo.path.stem}.json").read_text())
            assert [item.label for item in photo.objects] == [CLASSES[i] for i in raw["labels"]]
            for item, rle in zip(photo.objects, raw["masks"], strict=True):
                if mask_utils.area(rle) == 0:
                    continue
                segmentation = annotation_of(item, photo)["segmentation"]
                if isinstance(segmentation, list):
                    parts = mask_utils.frPyObjects(segmentation, photo.height, photo.width)
                    segmentation = mask_utils.merge(parts)
                assert mask_utils.iou([segmentation], [rle], [0])[0, 0] >= 0.99
    assert predict(model, photos, *options, "--write", "coco") == 2
    assert "corrected" in capsys.readouterr().err
    assert predict(model, "http://localhost/a.png", "--write", "coco") == 2


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera of four frames in ``cv2.VideoCapture``'s place."""

    class Camera:
        def __init__(self, *address: object) -> None:
            self.left = 4

        def isOpened(self) -> bool:
            return True

        def get(self, kind: int) -> float:
            return 30.0

        def read(self) -> tuple[bool, np.ndarray | None]:
            time.sleep(0.1)
            self.left -= 1
            if self.left < 0:
                return False, None
            return True, np.full((64, 80, 3), 40 * self.left, np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)


def test_camera(model, camera: None, monkeypatch, tmp_path: Path, capsys):
    """A line for each frame that was taken, and a video; the summary counts all."""
    out, film = tmp_path / "out", tmp_path / "film.avi"
    options = ("--camera", "0", "--out-dir", out, "--out", film, "--json")
    assert predict(model, *options) == 0
    summary = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in (out / "preds" / "camera_0.jsonl").open()]
    assert 1 <= len(lines) <= 4 and lines[-1]["frame"] == 3 and len(lines[-1]["scores"]) == 6
    assert summary["images"] == len(lines)
    assert sum(summary["detections"].values()) == sum(len(line["labels"]) for line in lines)
    assert summary["files"] == dict(video=str(film), predictions=str(out / "preds"))
    monkeypatch.undo()
    assert len(VideoFrames(film)) >= len(lines) and not (out / "vis").exists()


def test_ids_on_a_camera(model, camera: None, tmp_path: Path, capsys):
    """Objects that stand still keep theirs; the drawn frames have them."""
    pytest.importorskip("trackers")
    out = tmp_path / "out"
    assert predict(model, "--camera", "0", "--track", "--out-dir", out) == 0
    lines = [json.loads(line) for line in (out / "preds" / "camera_0.jsonl").open()]
    assert set(lines[0]["track_ids"]) == {None}
    named = [name for name in lines[-1]["track_ids"] if name is not None]
    assert len(named) == len(set(named)) >= 1
    assert (out / "vis" / "camera_0.mp4").is_file()


def test_camera_options(model, camera: None, photos: Path, tmp_path: Path, monkeypatch, capsys):
    """What contradicts itself, or cannot be shown, is refused before a model is loaded."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for words, said in (
        ([photos, "--camera", "0"], "either photos or a video"),
        ([], "either photos or a video"),
        (["--camera", "0", "--write", "coco"], "not with --camera"),
        (["--camera", "0", "--out", "a.gif"], ".mp4 or .avi"),
        (["--camera", "0", "--out", "a.mp4", "--no-save-vis"], "--no-save-vis"),
        (["--camera", "0", "--show"], "no display"),
        ([photos, "--track", "--out-dir", tmp_path / "out"], "not for images"),
    ):
        assert predict(model, *words) == 2
        assert said in capsys.readouterr().err


def suggest(model, *words: object) -> int:
    config, weights = model
    options = ["--config", config, "--weights", weights, "--device", "cpu"]
    try:
        maskr.main(["suggest", *map(str, words), *options])
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def test_suggest(model, photos: Path, tmp_path: Path, capsys):
    """Not a photo and its copy, the same again in a file, and all of them where there are few."""
    shutil.copy(photos / "a.png", photos / "c.png")
    out = tmp_path / "next.txt"
    assert suggest(model, photos, "--count", "2", "--out", out, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    found = [Path(photo["path"]).name for photo in content["photos"]]
    assert content["of"] == 3 and len(found) == 2 and "b.png" in found
    assert [Path(line).name for line in out.read_text().splitlines()] == found
    assert all(0 <= photo["uncertainty"] <= 1 for photo in content["photos"])
    assert suggest(model, photos, "--batch-size", "2", "--count", "9") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("(3 of 3)")
    assert [Path(line.split()[1]).name for line in lines[1:3]] == found
    assert suggest(model, photos, "--count", "0") == 2
