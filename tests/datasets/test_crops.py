"""Crops of annotated images show of each object what a crop of its pixels shows."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
import pytest

from mmdet_maskr.bands import encode_bands, read_bands
from mmdet_maskr.coco.form import compressed
from mmdet_maskr.datasets import CocoInstanceDataset, shapes
from mmdet_maskr.datasets.crop_annotations import cut_annotation
from mmdet_maskr.datasets.crops import Cutting, cut_dataset
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.tiles.grid import Tile, Tiling

SIZE = 96


def pixels(annotation: dict, height: int, width: int) -> np.ndarray:
    """The mask of an annotation, (height, width) bool."""
    found = annotation["segmentation"]
    if isinstance(found, list):
        found = pycocotools.mask.merge(pycocotools.mask.frPyObjects(found, height, width))
    return pycocotools.mask.decode(compressed(found, height, width)).astype(bool)


@pytest.fixture(scope="module")
def content(shapes_root: Path) -> dict:
    return json.loads((shapes_root / "annotations" / "instances_train.json").read_text())


def write(folder: Path, content: dict) -> Path:
    path = folder / "train.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("tile", [Tile(0, 0, 64, 64), Tile(32, 16, 96, 80), Tile(0, 0, 96, 96)])
def test_annotations(content: dict, tile: Tile):
    """Polygons and run-length codes of crowds, boxes around them, and keypoints."""
    kinds = set()
    for annotation in content["annotations"]:
        whole = pixels(annotation, SIZE, SIZE)
        expected = whole[tile.y0 : tile.y1, tile.x0 : tile.x1]
        cut = cut_annotation(annotation, tile, (SIZE, SIZE), min_visible=0.0)
        if cut is None:
            ys, xs = np.nonzero(expected)
            assert not len(ys) or min(np.ptp(ys), np.ptp(xs)) < 3, "a sliver"
            continue
        found = pixels(cut, *expected.shape)
        kinds.add((type(annotation["segmentation"]), tile == (0, 0, SIZE, SIZE)))
        # corners on the border of a crop are rounded by pycocotools
        assert (found != expected).sum() <= 0.05 * expected.sum() + 6
        ys, xs = np.nonzero(found)
        x, y, w, h = cut["bbox"]  # tips narrower than a pixel are in it, and cover none
        assert np.allclose([x, y, x + w, y + h], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1],
                           atol=6)  # fmt: skip
        share = expected.sum() / whole.sum()
        assert cut["area"] == pytest.approx(annotation["area"] * share, rel=0.1, abs=10)
        assert cut["iscrowd"] == annotation["iscrowd"]
        if "keypoints" in annotation:
            before = np.reshape(annotation["keypoints"], (-1, 3))
            after = np.reshape(cut["keypoints"], (-1, 3))
            shown = (before[:, 2] > 0) & (
                (before[:, :2] + 0.5 >= tile[:2]) & (before[:, :2] + 0.5 < tile[2:])
            ).all(1)
            assert (after[:, 2] == before[:, 2] * shown).all()
            assert np.allclose(after[shown, :2], before[shown, :2] - tile[:2])
            assert not after[~shown].any() and cut["num_keypoints"] == shown.sum()
    assert {kind for kind, _ in kinds} == {list, dict}


def test_an_object_of_which_little_is_seen():
    """It is a crowd with a run-length code; of what is outside there is nothing."""
    square = [10, 10, 50, 10, 50, 50, 10, 50]
    annotation = dict(bbox=[10, 10, 40, 40], area=1600, iscrowd=0, segmentation=[square])
    seen = cut_annotation(annotation, Tile(40, 0, 90, 60), (60, 90), 0.3)
    assert seen["iscrowd"] == 1 and seen["area"] == 400 and seen["bbox"] == [0, 10, 10, 40]
    assert pixels(seen, 60, 50).sum() == 400
    kept = cut_annotation(annotation, Tile(40, 0, 90, 60), (60, 90), 0.25)
    assert kept["iscrowd"] == 0 and isinstance(kept["segmentation"], list)
    assert cut_annotation(annotation, Tile(50, 0, 90, 60), (60, 90), 0.25) is None
    assert cut_annotation(annotation, Tile(49, 0, 90, 60), (60, 90), 0.25) is None, "a sliver"
    box_only = dict(bbox=[10, 10, 40, 40], area=1600, iscrowd=0)
    seen = cut_annotation(box_only, Tile(40, 0, 90, 60), (60, 90), 0.3)
    assert seen["iscrowd"] == 1 and pixels(seen, 60, 50).sum() == 400


def test_a_data_set(content: dict, shapes_root: Path, tmp_path: Path):
    """It trains as any other; the same settings write the same bytes."""
    ann_file = write(tmp_path, content)
    cutting = Cutting(Tiling(48, 0.25), empty=0.2)
    report = cut_dataset(ann_file, shapes_root / "train", tmp_path / "out", cutting)
    new = json.loads(report.path.read_text())
    assert report.path == tmp_path / "out" / "annotations" / "train.json"
    assert len(new["images"]) == report.crops + report.empty
    assert report.crops + report.empty + report.left_out == 9 * len(content["images"])
    assert report.empty == min(round(0.2 * report.crops), report.empty + report.left_out)
    for image in new["images"]:
        crop = cv2.imread(str(tmp_path / "out" / "train" / image["file_name"]))
        source = image["source"]
        whole = cv2.imread(str(shapes_root / "train" / source["file_name"]))
        x, y = source["x"], source["y"]
        assert (crop == whole[y : y + 48, x : x + 48]).all()
    with_objects = {a["image_id"] for a in new["annotations"] if not a["iscrowd"]}
    assert len(with_objects) == report.crops
    again = cut_dataset(ann_file, shapes_root / "train", tmp_path / "again", cutting)
    assert again.path.read_bytes() == report.path.read_bytes()
    dataset = CocoInstanceDataset(
        ann_file=str(report.path), data_prefix=dict(img=str(tmp_path / "out" / "train")),
        metainfo=dict(classes=shapes.CLASSES), pipeline=[],
    )  # fmt: skip
    count = sum(len(dataset.get_data_info(i)["instances"]) for i in range(len(dataset)))
    assert count == report.objects + report.crowds == len(new["annotations"])


@pytest.mark.parametrize(("bands", "suffix"), [(5, ".tif"), (3, ".png"), (1, ".png")])
def test_bands(tmp_path: Path, bands: int, suffix: str):
    """Crops have all bands and bits of a TIFF."""
    image = np.random.randint(0, 65535, (60, 80, bands), np.uint16)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.tif").write_bytes(encode_bands(image))
    square = [10, 10, 50, 10, 50, 50, 10, 50]
    content = dict(
        images=[dict(id=1, file_name="a.tif", height=60, width=80)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[10, 10, 40, 40], area=1600,
                          iscrowd=0, segmentation=[square])],
        categories=[dict(id=1, name="square")],
    )  # fmt: skip
    ann_file = write(tmp_path, content)
    report = cut_dataset(ann_file, tmp_path / "images", tmp_path / "out", Cutting(Tiling(48)))
    crops = json.loads(report.path.read_text())["images"]
    assert len(crops) > 1
    for crop in crops:
        found = read_bands(tmp_path / "out" / "images" / crop["file_name"])
        x, y = crop["source"]["x"], crop["source"]["y"]
        assert crop["file_name"].endswith(suffix) and found.dtype == np.uint16
        assert (found == image[y : y + 48, x : x + 48]).all()


def test_bad_input(content: dict, shapes_root: Path, tmp_path: Path):
    cutting = Cutting(Tiling(48))
    images = shapes_root / "train"
    wrong = json.loads(json.dumps(content))
    wrong["images"][0]["width"] = 200
    wrong["annotations"] = [a for a in wrong["annotations"] if isinstance(a["segmentation"], list)]
    with pytest.raises(UserError, match="has 96 x 96 pixels, but the annotation file says 200"):
        cut_dataset(write(tmp_path, wrong), images, tmp_path / "out", cutting)
    with pytest.raises(UserError, match="there is no image"):
        cut_dataset(write(tmp_path, content), tmp_path, tmp_path / "out", cutting)
    with pytest.raises(UserError, match="is the folder of the images"):
        cut_dataset(write(tmp_path, content), images, shapes_root, cutting)
    for options in (dict(min_visible=1.5), dict(empty=-1)):
        with pytest.raises(UserError, match=next(iter(options))):
            Cutting(Tiling(48), **options)
