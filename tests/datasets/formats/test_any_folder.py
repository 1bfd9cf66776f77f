"""A folder is a dataset: read once, found again, by all processes, for any annotation tool."""

from __future__ import annotations

import json
import os
from pathlib import Path

import format_writers as writers
import numpy as np
import pytest
from forked import finish, fork
from mmdet.registry import DATASETS
from PIL import Image

from mmdet_maskr.datasets.formats import prepared
from mmdet_maskr.datasets.formats.keypoint_names import swaps_of
from mmdet_maskr.datasets.formats.prepared import Reading, prepare
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import CocoInstanceMetric

IMAGE = dict(type="LoadImageFromFile")
LOADING = dict(type="LoadKeypointAnnotations", with_bbox=True, with_mask=True, poly2mask=None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MMDET_MASKR_CACHE", str(folder))
    return folder


def build(root: Path, **options: object):
    config = dict(type="AnyInstanceDataset", data_root=str(root), pipeline=[])
    return DATASETS.build({**config, **options})


def boxes(dataset: object) -> dict[str, list]:
    """Class names and boxes of each photo."""
    found = {}
    for info in (dataset.get_data_info(i) for i in range(len(dataset))):
        found[Path(info["img_path"]).name] = [
            (dataset.metainfo["classes"][one["bbox_label"]], one["bbox"])
            for one in info["instances"]
        ]
        assert Path(info["img_path"]).is_file()
    return found


@pytest.mark.parametrize("name", ["coco", "yolo", "cvat", "voc", "png_per_object"])
def test_the_splits_of_a_folder(tmp_path: Path, name: str):
    root = tmp_path / "photos"
    getattr(writers, f"write_{name}")(root)
    train, val = build(root), build(root, split="val")
    names = {split: set(boxes(d)) for split, d in (("train", train), ("val", val))}
    assert names["train"] | names["val"] == set(writers.SPLITS)
    assert not names["train"] & names["val"]
    if name in ("coco", "yolo"):
        assert names["val"] == {"c.png"}


def test_classes_in_any_order_and_some_of_them(tmp_path: Path):
    writers.write_coco(tmp_path / "photos")
    as_read = boxes(build(tmp_path / "photos"))
    turned = build(tmp_path / "photos", metainfo=dict(classes=writers.CLASSES[::-1]))
    assert boxes(turned) == as_read
    one = boxes(build(tmp_path / "photos", metainfo=dict(classes=("leaf",))))
    assert one == {k: [o for o in v if o[0] == "leaf"] for k, v in as_read.items()}
    with pytest.raises(UserError, match=r"'Leaf' \(did you mean 'leaf'\?\)"):
        build(tmp_path / "photos", metainfo=dict(classes=("Leaf", "blue stone")))


def test_a_file_that_changes_is_read_again(tmp_path: Path, cache: Path):
    root = tmp_path / "photos"
    writers.write_labelme(root)
    before = prepare(root)
    assert prepare(root) == before
    assert before.files["train"].parents[2] == cache / "folders"
    file = next(root.rglob("a.json"))
    content = json.loads(file.read_text())
    content["shapes"][0]["label"] = "twig"
    file.write_text(json.dumps(content), encoding="utf-8")
    after = prepare(root)
    assert after.digest != before.digest
    assert "twig" in after.summary["classes"]
    for reading in (Reading(seed=1), Reading(val_share=0.5), Reading(folds=2), Reading("labelme")):
        assert prepare(root, reading).digest != after.digest
    writers.photo(root / "d.png")  # a photo more
    assert prepare(root).digest != after.digest


def test_processes_that_start_at_once_read_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, log, output = tmp_path / "photos", tmp_path / "log", tmp_path / "output"
    writers.write_coco(root)
    original = prepared._write

    def writing(*args: object) -> None:
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        original(*args)

    monkeypatch.setattr(prepared, "_write", writing)
    children = [fork(lambda: print(prepare(root).files["train"]), output) for _ in range(4)]
    assert [finish(child) for child in children] == [0] * 4, output.read_text()
    files = output.read_text().splitlines()
    assert len(files) == 4 and len(set(files)) == 1
    assert len(log.read_text().split()) == 1


def test_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path):
    monkeypatch.setenv("MMDET_MASKR_CACHE", "off")
    writers.write_coco(tmp_path / "photos")
    assert set(boxes(build(tmp_path / "photos"))) == {"a.png", "b.png"}
    assert not cache.exists()


def test_folds_let_each_photo_validate_once(tmp_path: Path):
    root = tmp_path / "photos"
    writers.write_labelme(root)
    parts = [set(boxes(build(root, split="val", folds=3, fold=i))) for i in range(3)]
    assert sorted(name for part in parts for name in part) == sorted(writers.SPLITS)
    train = build(root, folds=3, fold=1)
    assert set(boxes(train)) == set(writers.SPLITS) - parts[1]
    with pytest.raises(UserError, match="fold=3 of folds=3"):
        build(root, folds=3, fold=3)


def test_another_folder_validates(tmp_path: Path):
    writers.write_labelme(tmp_path / "one")
    writers.write_yolo(tmp_path / "two")
    options = dict(val_root=str(tmp_path / "two"))
    train = build(tmp_path / "one", **options)
    val = build(tmp_path / "one", split="val", **options)
    assert set(boxes(train)) == set(boxes(val)) == set(writers.SPLITS)
    assert {Path(val.get_data_info(0)["img_path"]).is_relative_to(tmp_path / "two")} == {True}
    assert train.prepared.summary["leaks"]  # the same photos


def test_leaks_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = tmp_path / "photos"
    writers.write_yolo(root)
    photos = {path.name: path for path in root.rglob("*.png")}
    photos["c.png"].write_bytes(photos["a.png"].read_bytes())
    assert len(build(root).prepared.summary["leaks"]) == 1


def test_the_metric_takes_the_file_of_the_data_set(tmp_path: Path):
    writers.write_coco(tmp_path / "photos")
    dataset = build(tmp_path / "photos", split="val")
    metric = CocoInstanceMetric("dataset", ["bbox", "segm"])
    metric.dataset_meta = dataset.metainfo
    assert metric.truth_of("bbox").annotation_file == dataset.ann_file
    with pytest.raises(UserError, match="works only with AnyInstanceDataset"):
        CocoInstanceMetric("dataset").dataset_meta = dict(classes=("leaf",))


def figures(root: Path) -> Path:
    """COCO keypoints of four figures without masks, each in a photo of its own."""
    joints = ["head", "left_hand", "right_hand"]
    images, annotations = [], []
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)
        root.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"{i}.png")
        images.append(dict(id=i, file_name=f"{i}.png", width=64, height=64))
        points = [30, 10 + i, 2, 20, 30, 2, 40, 30, 1]
        annotations.append(
            dict(id=i, image_id=i, category_id=1, bbox=[10, 5, 40, 50], keypoints=points)
        )
    category = dict(id=1, name="figure", keypoints=joints, skeleton=[[1, 2], [1, 3]])
    content = dict(images=images, annotations=annotations, categories=[category])
    (root / "figures.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def test_keypoints_come_with_their_names(tmp_path: Path):
    root = figures(tmp_path / "figures")
    dataset = build(root, type="AnyKeypointDataset", pipeline=[IMAGE, LOADING])
    meta = dataset.metainfo
    assert list(meta["keypoints"]) == ["head", "left_hand", "right_hand"]
    assert [list(pair) for pair in meta["keypoint_swaps"]] == [["left_hand", "right_hand"]]
    assert [list(pair) for pair in meta["skeleton"]] == [
        ["head", "left_hand"], ["head", "right_hand"]
    ]  # fmt: skip
    assert dataset.box_only == len(dataset) == 3
    loaded = dataset[0]
    assert loaded["gt_keypoints"].shape == (1, 3, 3)
    assert not loaded["gt_masks"].known.any()


def test_no_keypoints(tmp_path: Path):
    writers.write_coco(tmp_path / "photos")
    with pytest.raises(UserError, match=r"has no keypoints: use AnyInstanceDataset"):
        build(tmp_path / "photos", type="AnyKeypointDataset")


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["left_eye", "nose", "right_eye"], [["left_eye", "right_eye"]]),
        (["l_knee", "r_knee"], [["l_knee", "r_knee"]]),
        (["Knee L", "Knee R"], [["Knee L", "Knee R"]]),
        (["eyeLeft", "eyeRight"], [["eyeLeft", "eyeRight"]]),
        (["leaf", "rleaf", "tail", "left"], []),
    ],
)
def test_left_and_right(names: list[str], pairs: list[list[str]]):
    assert swaps_of(names) == pairs


def test_wrong_options(tmp_path: Path):
    writers.write_coco(tmp_path / "photos")
    with pytest.raises(UserError, match=r"does not take ann_file: .* use CocoInstanceDataset"):
        build(tmp_path / "photos", ann_file="train.json")
    with pytest.raises(UserError, match=r"split='test': .* has 'train', 'val'"):
        build(tmp_path / "photos", split="test")
    with pytest.raises(UserError, match=r"there is no folder or annotation file .*nowhere"):
        build(tmp_path / "nowhere")
