"""What is written for an annotation tool reads back as the same objects; the tools' own keys."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from mmdet_maskr.datasets.formats import Collection, Object, Photo, read_folder
from mmdet_maskr.datasets.formats.label_studio import brush_mask
from mmdet_maskr.datasets.formats.output import annotation_of
from mmdet_maskr.datasets.formats.tracing import joined, parts_of
from mmdet_maskr.datasets.formats.writers import WRITERS, write_labels
from mmdet_maskr.datasets.formats.writers.label_studio import brush
from mmdet_maskr.errors import UserError

WIDTH, HEIGHT = 90, 70
JOINTS = ["tip", "stalk"]


def rle_of(mask: np.ndarray) -> dict:
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=rle["size"], counts=rle["counts"].decode())


def masks() -> dict[str, np.ndarray]:
    """Ones that formats stumble on: round, a pixel thin, with holes, in parts, at the edges."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = (x - 30) ** 2 + (y - 30) ** 2 < 400
    ring = disc & ((x - 30) ** 2 + (y - 30) ** 2 > 90)
    parts = ((x - 12) ** 2 + (y - 50) ** 2 < 80) | ((x - 70) ** 2 + (y - 20) ** 2 < 150)
    line = np.zeros_like(disc)
    line[5, 3:60] = True
    line[5:40, 60] = True
    island = ring | ((x - 30) ** 2 + (y - 30) ** 2 < 20)  # a part within a hole
    return dict(
        disc=disc, ring=ring, parts=parts, line=line, island=island, dot=(x == 7) & (y == 9),
        border=(x > 60) | (y < 4), all=np.ones_like(disc), steps=(x // 5 + y // 5) % 2 == 0,
    )  # fmt: skip


def collection(root: Path, keypoints: bool = True, with_masks: bool = True) -> Collection:
    made = Collection("predictions", classes=["leaf", "näüt & <x>"], root=root)
    shapes = list(masks().values())
    for number, name in enumerate(("a.png", "deep/b.png", "empty.png")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 60 * number, np.uint8))
        photo = Photo(path, width=WIDTH, height=HEIGHT)
        for i, mask in enumerate(shapes if number < 2 else []):
            item = Object(made.classes[(i + number) % 2])
            if with_masks:
                item.rle = rle_of(mask)
            else:
                item.box = [float(v) for v in coco.toBbox(rle_of(mask))]
            if keypoints and item.label == "leaf":
                item.keypoints = [3.25, 4.5, 2.0, 40.75, 60.0, 2.0]
            photo.objects.append(item)
        made.photos.append(photo)
    if keypoints:
        made.keypoints = dict(leaf=JOINTS)
        made.skeletons = dict(leaf=[[1, 2]])
    return made


def pixels(item: Object, photo: Photo) -> np.ndarray:
    """Its mask as COCO draws it."""
    segmentation = annotation_of(item, photo)["segmentation"]
    if isinstance(segmentation, list):
        segmentation = coco.merge(coco.frPyObjects(segmentation, HEIGHT, WIDTH))
    return coco.decode(segmentation).astype(bool)


@pytest.mark.parametrize("name", masks())
def test_outlines_draw_the_mask(name: str):
    mask = masks()[name]
    parts = parts_of(rle_of(mask))
    drawn = coco.decode(coco.merge(coco.frPyObjects([joined(parts)], HEIGHT, WIDTH))) > 0
    assert (drawn & mask).sum() / (drawn | mask).sum() >= 0.99
    assert any(part.holes for part in parts) == (name in ("ring", "island", "steps"))
    if name == "disc":
        assert len(parts) == 1 and len(parts[0].outline) < 100  # its pixels have 84 corners


def test_empty_mask():
    assert parts_of(rle_of(np.zeros((HEIGHT, WIDTH)))) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_read_back(kind: str, tmp_path: Path):
    """IoU >= 0.99, the same names in the same order, keypoints where the format has them."""
    written = collection(tmp_path / "photos")
    left_out = write_labels(written, tmp_path / "out", kind)
    found = read_folder(tmp_path / "out")
    assert found.classes == written.classes or (
        kind == "labelme" and sorted(found.classes) == sorted(written.classes)
    )  # labelme has no list of classes
    read = {photo.path.name: photo for photo in found.photos}
    assert sorted(read) == ["a.png", "b.png", "empty.png"]
    with_keypoints = kind in ("coco", "cvat")
    assert left_out == ({} if with_keypoints else {"keypoints of an object": 9})
    for photo in written.photos:
        twin = read[photo.path.name]
        assert (tmp_path / "out") in twin.path.parents
        assert [o.label for o in twin.objects] == [o.label for o in photo.objects]
        for item, again in zip(photo.objects, twin.objects, strict=True):
            one, two = pixels(item, photo), pixels(again, twin)
            assert (one & two).sum() / (one | two).sum() >= 0.99
            assert again.keypoints == (item.keypoints if with_keypoints else None)
    if with_keypoints:
        assert found.keypoints == written.keypoints


@pytest.mark.parametrize("kind", WRITERS)
def test_boxes_read_back(kind: str, tmp_path: Path):
    written = collection(tmp_path / "photos", keypoints=kind == "yolo", with_masks=False)
    assert write_labels(written, tmp_path / "out", kind) == {}
    read = {photo.path.name: photo for photo in read_folder(tmp_path / "out").photos}
    for photo in written.photos:
        twin = read[photo.path.name]
        for item, again in zip(photo.objects, twin.objects, strict=True):
            box = annotation_of(again, twin)["bbox"]
            assert np.allclose(box, item.box, atol=0.02)
            if kind == "yolo" and item.keypoints:
                assert np.allclose(again.keypoints, item.keypoints, atol=1e-3)


def test_brush_of_many_pixels():
    """Runs longer than the largest size are split."""
    mask = np.zeros((200, 300), np.uint8)
    mask[50:190] = 1
    mask[100, 7] = 0
    assert (brush_mask(brush(mask), 300, 200, "brush") == mask).all()


def test_what_the_tools_look_for(tmp_path: Path):
    """The keys, by each tool's documentation."""
    written = collection(tmp_path / "photos")
    for kind in WRITERS:
        write_labels(written, tmp_path / kind, kind)
    labelme = json.loads((tmp_path / "labelme" / "deep" / "b.json").read_text())
    assert labelme["imagePath"] == "b.png" and labelme["imageData"] is None
    kinds = [shape["shape_type"] for shape in labelme["shapes"]]
    assert {*kinds} == {"polygon", "mask"}
    tasks = json.loads((tmp_path / "label-studio" / "tasks.json").read_text())
    assert tasks[1]["data"]["image"] == "/data/local-files/?d=images/deep/b.png"
    regions = tasks[0]["predictions"][0]["result"]
    config = ElementTree.fromstring((tmp_path / "label-studio" / "label_config.xml").read_text())
    controls = {control.get("name"): control.tag.lower() for control in config[1:]}
    assert all(controls[region["from_name"]] == region["type"] for region in regions)
    cvat = ElementTree.fromstring((tmp_path / "cvat" / "annotations.xml").read_text("utf-8"))
    assert [label.findtext("type") for label in cvat.iter("label")] == [
        "skeleton", "points", "points", "any"
    ]  # fmt: skip
    assert [image.get("name") for image in cvat.iter("image")] == ["a.png", "deep/b.png",
                                                                   "empty.png"]  # fmt: skip
    assert (tmp_path / "yolo" / "labels" / "train" / "empty.txt").read_text() == ""


def test_labels_that_are_there_are_kept(tmp_path: Path):
    written = collection(tmp_path / "photos")
    write_labels(written, tmp_path / "out", "labelme")
    with pytest.raises(UserError, match="corrected"):
        write_labels(written, tmp_path / "out", "labelme")
