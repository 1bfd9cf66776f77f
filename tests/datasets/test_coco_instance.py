"""Wrong class names, annotation files and folders end in an error that says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS

import mmdet_maskr  # noqa: F401  (registers the datasets)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images; categories cat (id 7), dog (3), bird (5), in this order."""
    (tmp_path / "images").mkdir()
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros((20, 30, 3), np.uint8))
    write(tmp_path, coco())
    return tmp_path


def coco() -> dict:
    box = dict(bbox=[2, 3, 10, 8], area=80, iscrowd=0, segmentation=[[2, 3, 12, 3, 12, 11, 2, 11]])
    return dict(
        images=[dict(id=i, file_name=f"{i}.png", height=20, width=30) for i in (1, 2)],
        annotations=[
            dict(id=10, image_id=1, category_id=7, **box),
            dict(id=11, image_id=1, category_id=3, **box),
            dict(id=12, image_id=2, category_id=5, **box),
        ],
        categories=[dict(id=7, name="cat"), dict(id=3, name="dog"), dict(id=5, name="bird")],
    )


def write(root: Path, content: object) -> None:
    (root / "ann.json").write_text(json.dumps(content), encoding="utf-8")


def build(root: Path, **options: object):
    config = dict(
        type="CocoInstanceDataset",
        data_root=str(root),
        ann_file="ann.json",
        data_prefix=dict(img="images"),
        metainfo=dict(classes=("cat", "dog", "bird")),
        pipeline=[],
    )
    return DATASETS.build({**config, **options})


def test_labels_follow_the_classes(root: Path):
    dataset = build(root)
    labels = [i["bbox_label"] for k in range(2) for i in dataset.get_data_info(k)["instances"]]
    assert labels == [0, 1, 2]


@pytest.mark.parametrize("crowds", ["auto", "none"])
def test_labels_follow_names_in_any_order(root: Path, crowds: str):
    """'none' changes annotations, so that the file is read whole."""
    content = coco()
    content["annotations"][0]["iscrowd"] = int(crowds == "none")
    write(root, content)
    dataset = build(root, metainfo=dict(classes=("bird", "cat", "dog")), crowds=crowds)
    labels = [i["bbox_label"] for k in range(2) for i in dataset.get_data_info(k)["instances"]]
    assert labels == [1, 2, 0]
    assert [dataset.cat_ids[label] for label in labels] == [7, 3, 5]


@pytest.mark.parametrize("crowds", ["auto", "none"])
def test_the_twin_of_a_class_that_has_no_annotations_is_none(root: Path, crowds: str):
    """As Roboflow writes a project that is called as one of its classes."""
    content = coco()
    content["annotations"][0]["iscrowd"] = int(crowds == "none")
    content["categories"].insert(0, dict(id=0, name="dog"))
    write(root, content)
    dataset = build(root, crowds=crowds)
    assert dataset.cat_ids == [7, 3, 5]


def test_a_subset_of_the_classes_is_fine(root: Path):
    dataset = build(root, metainfo=dict(classes=("cat", "bird")))
    labels = [i["bbox_label"] for k in range(2) for i in dataset.get_data_info(k)["instances"]]
    assert labels == [0, 1]


def test_classes_from_a_list_file(root: Path):
    names = root / "names.txt"
    names.write_text("cat\ndog\nbird\n", encoding="utf-8")
    dataset = build(root, metainfo=dict(classes=str(names)))
    assert list(dataset.metainfo["classes"]) == ["cat", "dog", "bird"]


@pytest.mark.parametrize(
    ("metainfo", "message"),
    [
        (dict(classes=("cat", "Dog", "bird")), r"lacks 1 .*'Dog' \(did you mean 'dog'\?\)"),
        (dict(classes=("car", "bus")), r"none of the 2 classes .*classes=\('cat', 'dog', 'bird'\)"),
        (
            dict(CLASSES=("cat", "dog", "bird")),
            r"key 'CLASSES' of MMDetection 2.x.* write 'classes'",
        ),
        (dict(classes=("cat",), PALETTE=[(0, 0, 0)]), r"key 'PALETTE'.* write 'palette'"),
        (dict(classes="cat"), r"bare string 'cat', not a tuple: write classes=\('cat',\)"),
        (dict(classes=("cat", "cat", "dog")), r"names \['cat'\] more than once"),
        (None, r"lacks 77 of|none of the 80 classes"),
    ],
)
def test_wrong_classes(root: Path, metainfo: dict | None, message: str):
    with pytest.raises(ValueError, match=message):
        build(root, metainfo=metainfo)


def _without(key: str) -> dict:
    content = coco()
    del content[key]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"lacks \['images', 'annotations', 'categories'\]"),
        (_without("categories"), r"lacks \['categories'\]; it has \['annotations', 'images'\]"),
        ([], r"holds a list, not a COCO object"),
        ({**coco(), "images": []}, r"an empty list \['images'\]"),
        ({**coco(), "categories": []}, r"an empty list \['categories'\]"),
        (
            {**coco(), "categories": [dict(id=i, name="cat") for i in (7, 3, 5)]},
            r"annotations of several categories with the same name: \['cat'\]",
        ),
    ],
)
def test_wrong_annotation_files(root: Path, content: object, message: str):
    write(root, content)
    with pytest.raises(ValueError, match=message):
        build(root)


@pytest.mark.parametrize("text", ["", "{", "\xff\xfe"])
def test_annotation_file_that_is_no_json(root: Path, text: str):
    (root / "ann.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"annotation file .*ann\.json, line 1"):
        build(root)


def test_missing_annotation_file(root: Path):
    with pytest.raises(ValueError, match=r"no annotation file .*none\.json: set data_root"):
        build(root, ann_file="none.json")


def test_missing_image_folder(root: Path):
    with pytest.raises(ValueError, match=r"no image folder .*photos: set data_root"):
        build(root, data_prefix=dict(img="photos"))


def test_image_folder_of_another_split(root: Path):
    (root / "other").mkdir()
    with pytest.raises(ValueError, match=r"lacks .*1\.png, the first image of the annotation file"):
        build(root, data_prefix=dict(img="other"))


def test_shapes_dataset(shapes_root: Path):
    dataset = DATASETS.build(
        dict(
            type="ShapesDataset",
            data_root=str(shapes_root),
            ann_file="annotations/instances_train.json",
            data_prefix=dict(img="train"),
            pipeline=[],
        )
    )
    assert dataset.metainfo["classes"][3] == "ring"
    assert len(dataset) == 16
    labels = {i["bbox_label"] for k in range(16) for i in dataset.get_data_info(k)["instances"]}
    assert labels == set(range(6))


def test_a_test_set_needs_no_annotations(root: Path):
    """COCO's test sets list images and categories alone."""
    write(root, _without("annotations"))
    dataset = build(root, test_mode=True)
    assert [len(dataset.get_data_info(i)["instances"]) for i in range(2)] == [0, 0]
    with pytest.raises(ValueError, match=r"lacks \['annotations'\]"):
        build(root)
