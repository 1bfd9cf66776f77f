"""benchmark.py live and video: both sides find as many objects, YOLO's at the right places."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdet_maskr.benchmark import yolo
from mmdet_maskr.benchmark.live import add_live, rows_of
from mmdet_maskr.benchmark.measure import Timing
from mmdet_maskr.benchmark.video import add_video
from mmdet_maskr.errors import UserError

SIZE, SIDE, CLASSES = 128, 32, 3
BOXES = [  # x, y, width, height in the square input
    (40, 60, 30, 20),
    (41, 60, 30, 20),  # the first again
    (90, 70, 24, 28),
    (20, 40, 12, 12),
    (110, 96, 18, 26),
]
SCORES = [0.9, 0.8, 0.7, 0.6, 0.001]


def run(add, *arguments: str) -> None:
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers())
    args = parser.parse_args(arguments)
    args.run(args)


def write_graph(path: Path) -> Path:
    """A graph whose outputs do not depend on the image: BOXES, and masks of their left halves."""
    onnx = pytest.importorskip("onnx")
    places = len(BOXES)
    predicted = np.zeros((1, 4 + CLASSES + yolo.PROTOTYPES, places), np.float32)
    predicted[0, :4] = np.array(BOXES, np.float32).T
    predicted[0, 4 + np.arange(places) // 2 % CLASSES, np.arange(places)] = SCORES
    prototypes = np.zeros((1, yolo.PROTOTYPES, SIDE, SIDE), np.float32)
    columns = (np.arange(SIDE) + 0.5) * SIZE / SIDE
    for i, box in enumerate(BOXES):
        prototypes[0, i] = box[0] - columns
        predicted[0, 4 + CLASSES + i, i] = 1
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes, outputs = [], []
    # by a zero of the image, so that the graph has an input
    nodes.append(helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["sum", "zero"], ["nothing"]))
    constants = [onnx.numpy_helper.from_array(np.zeros((), np.float32), "zero")]
    for name, value in (("output0", predicted), ("output1", prototypes)):
        constants.append(onnx.numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
        outputs.append(helper.make_tensor_value_info(name, kind, value.shape))
    image = helper.make_tensor_value_info("images", kind, (1, 3, SIZE, SIZE))
    graph = helper.make_graph(nodes, "yolo", [image], outputs, constants)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    return write_graph(tmp_path / "yolo-seg.onnx")


def test_yolo_from_file_to_masks(graph: Path, tmp_path: Path):
    """Boxes and masks in pixels of an image that was scaled by 1/2 and moved down by 16."""
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), np.full((192, 256, 3), 100, np.uint8))
    model = yolo.YoloSeg(graph, "onnx", SIZE, 1, objects=3)
    assert model.calibrate([photo]) == pytest.approx(4 / 3)
    assert model.thresholds == {photo: pytest.approx(0.6)}
    labels, scores, boxes, masks = model(photo)
    assert labels.tolist() == [0, 1, 1] and scores == pytest.approx([0.9, 0.7, 0.6])
    expected = []
    for x, y, width, height in (BOXES[0], BOXES[2], BOXES[3]):
        sides = [x - width / 2, y - height / 2 - 16, x + width / 2, y + height / 2 - 16]
        expected.append([2 * side for side in sides])
    assert np.allclose(boxes, expected, atol=1e-4)
    for mask, (x1, y1, x2, y2) in zip(masks, np.array(expected).astype(int), strict=True):
        inside = np.zeros((192, 256), bool)
        inside[y1:y2, x1 : (x1 + x2) // 2] = True
        assert (mask != inside).sum() == 0
    model = yolo.YoloSeg(graph, "onnx", SIZE, 1, objects=5)
    with pytest.raises(UserError, match="finds 4 objects"):
        model.calibrate([photo])


def test_input_of_yolo():
    """RGB from 0 to 1, centered in gray."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 2] = 255
    found = yolo.input_of(image, 32)
    assert found.shape == (1, 3, 32, 32) and found.dtype == np.float32
    assert np.allclose(found[0, :, :4], 114 / 255) and np.allclose(found[0, :, -4:], 114 / 255)
    assert np.allclose(found[0, :, 4:-4].reshape(3, -1), [[1], [0], [0]])


def test_scores_that_are_alike(graph: Path, tmp_path: Path, monkeypatch):
    """Random weights without statistics: NMS would be most of YOLO's work."""
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), np.zeros((96, 128, 3), np.uint8))
    monkeypatch.setattr(yolo, "MOST_CANDIDATES", 1)
    with pytest.raises(UserError, match="too much alike"):
        yolo.YoloSeg(graph, "onnx", SIZE, 1, objects=3).calibrate([photo])


def test_live(graph: Path, tmp_path: Path, monkeypatch, capsys):
    """Rows of each library; a YOLO that cannot be exported is left out, with the reason."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ultralytics" else real(name)
    )
    file = tmp_path / "live.json"
    run(
        add_live, "live", "--config", "mini/maskr_shapes", "--forms", "torch", "onnx",
        "--yolo", str(graph), "yolo11n-seg", "--yolo-size", str(SIZE), "--size", "96", "128",
        "--images", "2", "--objects", "3", "--repeats", "1", "--threads", "1", "--json", str(file),
    )  # fmt: skip
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == [
        "ours, torch : yolo-seg, onnx", "ours, onnx : yolo-seg, onnx"
    ]  # fmt: skip
    for row in rows:
        assert row["images_per_second"] == pytest.approx(1 / row["ours"]["median"])
        assert row["against"] == "yolo-seg, onnx"
    out = capsys.readouterr().out
    assert "yolo11n-seg is left out: ultralytics is not installed" in out
    with pytest.raises(UserError, match="4 objects"):
        run(add_live, "live", "--config", "mini/maskr_shapes", "--forms", "onnx", "--yolo",
            str(graph), "--yolo-size", str(SIZE), "--objects", "5", "--images", "1")  # fmt: skip


def test_rows_without_yolo():
    timings = {f"ours, {form}": Timing(value, value, value)
               for form, value in (("torch", 0.4), ("int8", 0.1))}  # fmt: skip
    rows = rows_of(timings, ["torch", "int8"])
    assert [(row.case, row.ratio) for row in rows] == [
        ("ours, torch : ours, torch", 1.0), ("ours, int8 : ours, torch", 4.0)
    ]  # fmt: skip


def test_video(tmp_path: Path):
    """Overlapped and in turn, with the same predictions."""
    pytest.importorskip("onnxruntime")
    file = tmp_path / "video.json"
    run(
        add_video, "video", "--config", "mini/maskr_shapes", "--forms", "onnx", "--size", "96",
        "128", "--frames", "6", "--objects", "3", "--repeats", "1", "--json", str(file),
    )  # fmt: skip
    (row,) = json.loads(file.read_text())["rows"]
    assert row["case"] == "onnx, 6 frames" and row["fps"] > 0
    assert row["ratio"] == pytest.approx(row["fps"] / row["peer_fps"])
