"""COCO results of the inferencer: ids, classes, and the numbers that pycocotools makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from mmdet_maskr.apis.coco_json import CocoResults
from mmdet_maskr.errors import UserError

CLASSES = ("cat", "dog")
FOUND = dict(
    labels=[1, 0], scores=[0.9, 0.5], bboxes=[[1.0, 2.0, 11.0, 22.0], [0.0, 0.0, 4.0, 4.0]],
    masks=[dict(size=[30, 40], counts="a"), dict(size=[30, 40], counts="b")],
    keypoints=[[[3.5, 4.5], [5.0, 6.0]], []], keypoint_scores=[[0.7, 0.2], []],
)  # fmt: skip


@pytest.fixture
def write_truth(tmp_path: Path) -> Callable[..., Path]:
    def write(names: dict[str, int], categories: dict[str, int]) -> Path:
        content = dict(
            images=[dict(id=i, file_name=n, width=40, height=30) for n, i in names.items()],
            categories=[dict(id=i, name=name) for name, i in categories.items()],
            annotations=[],
        )
        (tmp_path / "truth.json").write_text(json.dumps(content))
        return tmp_path / "truth.json"

    return write


def test_ids_of_the_annotation_file(write_truth: Callable, tmp_path: Path):
    """Images by the end of their path, classes by name; keypoints are pixel indices."""
    truth = write_truth({"1.jpg": 70, "b/2.jpg": 80, "a/2.jpg": 90}, {"dog": 18, "cat": 17})
    images = ["/data/b/2.jpg", "x/1.jpg", "http://server/1.jpg?q"]
    results = CocoResults(tmp_path / "out" / "found.json", CLASSES, images, truth)
    for image in images:
        results.add(image, FOUND)
    results.write()
    records = json.loads((tmp_path / "out" / "found.json").read_text())
    assert [record["image_id"] for record in records] == [80, 80, 70, 70, 70, 70]
    assert records[0] == dict(
        image_id=80, category_id=18, bbox=[1, 2, 10, 20], score=0.9,
        segmentation=FOUND["masks"][0], keypoints=[3.0, 4.0, 0.7, 4.5, 5.5, 0.2],
    )  # fmt: skip
    assert records[1]["category_id"] == 17 and "keypoints" not in records[1]
    loaded = COCO(str(truth)).loadRes(str(tmp_path / "out" / "found.json"))
    assert len(loaded.anns) == 6


def test_ids_of_an_lvis_file(tmp_path: Path):
    """LVIS names images by URLs alone, and annotations have no iscrowd."""
    urls = {7: "http://images/train2017/1.jpg", 8: "http://images/val2017/2.jpg"}
    square = [[0, 0, 9, 0, 9, 9]]
    content = dict(
        images=[dict(id=i, coco_url=url, width=40, height=30) for i, url in urls.items()],
        categories=[dict(id=3, name="dog", synset="dog.n.01", frequency="f")],
        annotations=[dict(id=1, image_id=7, category_id=3, bbox=[0, 0, 9, 9], area=40.5,
                          segmentation=square)],
    )  # fmt: skip
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    images = ["/data/val2017/2.jpg", "1.jpg"]
    results = CocoResults(tmp_path / "found.json", CLASSES, images, tmp_path / "lvis.json")
    for image in images:
        results.add(image, FOUND)
    results.write()
    records = json.loads((tmp_path / "found.json").read_text())
    assert [(r["image_id"], r["category_id"]) for r in records] == [(8, 3), (7, 3)]


def test_names_as_ids(tmp_path: Path):
    results = CocoResults(tmp_path / "found.json", CLASSES, ["a/1.jpg", np.zeros(1)])
    results.add("a/1.jpg", FOUND)
    results.add(1, dict(labels=[0], scores=[0.5], bboxes=[[0, 0, 1, 1]]))
    results.write()
    records = json.loads((tmp_path / "found.json").read_text())
    assert [(r["image_id"], r["category_id"]) for r in records] == [("1.jpg", 2), ("1.jpg", 1),
                                                                    (1, 1)]  # fmt: skip
    assert records[2] == dict(image_id=1, category_id=1, bbox=[0, 0, 1, 1], score=0.5)


def test_classes_that_the_file_lacks(write_truth: Callable, tmp_path: Path, capfd):
    """Keypoint files name persons alone; what is left out is counted."""
    truth = write_truth({"1.jpg": 1}, {"cat": 5})
    results = CocoResults(tmp_path / "found.json", CLASSES, ["1.jpg"], truth)
    results.add("1.jpg", FOUND)
    results.write()
    assert [r["category_id"] for r in json.loads((tmp_path / "found.json").read_text())] == [5]
    output = capfd.readouterr()
    assert (
        "1 detections left out, because the annotation file does not have"
        in output.out + output.err
    )


def test_bad_input(write_truth: Callable, tmp_path: Path):
    truth = write_truth({"1.jpg": 1}, {"cat": 5})
    out = tmp_path / "found.json"
    with pytest.raises(UserError, match=r"its name must end in \.json"):
        CocoResults("found.txt", CLASSES, ["1.jpg"])
    with pytest.raises(UserError, match=r"1 of 2 images are not in .*truth\.json, e\.g\. 2\.jpg"):
        CocoResults(out, CLASSES, ["1.jpg", "2.jpg"], truth)
    for without_names in ([np.zeros(1)], ["1.jpg", np.zeros(1)], None):
        with pytest.raises(UserError, match="arrays and frames have none"):
            CocoResults(out, CLASSES, without_names, truth)
    with pytest.raises(UserError, match=r"none of the model's classes \(a, \.\.\.\); it has cat"):
        CocoResults(out, ["a"], ["1.jpg"], truth)
    with pytest.raises(UserError, match=r"no annotation file .*nowhere\.json"):
        CocoResults(out, CLASSES, ["1.jpg"], tmp_path / "nowhere.json")
    for section, entry in (("images", dict(id=1)), ("categories", dict(name="cat"))):
        content = dict(json.loads(truth.read_text()), **{section: [entry]})
        (tmp_path / "bad.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=rf"bad\.json: {section}\[0\] needs an id and "):
            CocoResults(out, CLASSES, ["1.jpg"], tmp_path / "bad.json")
    with pytest.raises(UserError, match=r"2 images are named 1\.jpg"):
        CocoResults(out, CLASSES, ["a/1.jpg", "b/1.jpg"])
