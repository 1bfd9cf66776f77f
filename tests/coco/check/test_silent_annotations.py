"""Files that a training would learn nothing from, or the wrong thing: counted, named and fixed.

Each is a good file of shapes with one thing wrong with it, as annotation tools and scripts of users
write it. What the check, its cleaned copy, the dataset and tools/train.py make of it.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask
import pytest
from forked import finish, fork
from mmdet.registry import DATASETS

from mmdet_maskr.coco import check
from mmdet_maskr.coco.check.boxes import READINGS, area_of, compare
from mmdet_maskr.coco.check.trainable import REASONS, Tally, meant_ids
from mmdet_maskr.datasets import annotation_checks, shapes
from mmdet_maskr.errors import UserError

SIDE = 96


def load(root: Path) -> dict:
    return json.loads((root / "annotations/instances_train.json").read_text())


@pytest.fixture(scope="module")
def content(shapes_root: Path) -> dict:
    return load(shapes_root)


def each(change: Callable[[dict], Any]) -> Callable[[dict], None]:
    """A change of every annotation."""

    def breaks(content: dict) -> None:
        for annotation in content["annotations"]:
            change(annotation)

    return breaks


def _rle(annotation: dict) -> dict:
    mask = annotation["segmentation"]
    if isinstance(mask, dict):
        return mask
    found = pycocotools.mask.merge(pycocotools.mask.frPyObjects(mask, SIDE, SIDE))
    return dict(size=found["size"], counts=found["counts"].decode())


def _set_box(read: Callable[[float, float, float, float], list]) -> Callable[[dict], None]:
    def change(annotation: dict) -> None:
        annotation["bbox"] = read(*annotation["bbox"])

    return each(change)


def _fractions(annotation: dict) -> None:
    annotation["bbox"] = [value / SIDE for value in annotation["bbox"]]


def _all_fractions(annotation: dict) -> None:
    _fractions(annotation)
    annotation["area"] /= SIDE**2
    mask = annotation["segmentation"]
    if isinstance(mask, list):
        annotation["segmentation"] = [[value / SIDE for value in p] for p in mask]


def _shift(by: int) -> Callable[[dict], None]:
    return each(lambda a: a.update(category_id=a["category_id"] + by))


class Case(NamedTuple):
    """``code`` is what the check finds, ``refused`` what the dataset says, None if it trains."""

    name: str
    breaks: Callable[[dict], Any]
    code: str | None
    refused: str | None
    options: dict = {}


POLYGONS = dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=False)
CASES = [
    Case("boxes in fractions", each(_fractions), "boxes-in-fractions", "fractions of the image"),
    Case("all in fractions", each(_all_fractions), "boxes-in-fractions", "fractions of the image"),
    Case("area 0", each(lambda a: a.update(area=0)), "area", "104 with an area of 0|area of 0"),
    Case("all ignored", each(lambda a: a.update(ignore=1)), "nothing-trainable", "with ignore=1"),
    Case("ids one less", _shift(-1), "category-ids-shifted", "ids that are shifted"),
    Case("ids one more", _shift(1), "category-ids-shifted", "ids that are shifted"),
    Case("unknown images", each(lambda a: a.update(image_id=a["image_id"] + 500)), "image-unknown",
         "of images that are not in the file"),
    Case("boxes as corners", _set_box(lambda x, y, w, h: [x, y, x + w, y + h]), "box-not-mask",
         "would fit as x1, y1, x2, y2"),
    Case("boxes from centers", _set_box(lambda x, y, w, h: [x + w / 2, y + h / 2, w, h]),
         "box-not-mask", "would fit as center x, center y"),
    Case("boxes y first", _set_box(lambda x, y, w, h: [y, x, h, w]), "box-not-mask",
         "would fit as y, x, height, width|y, x"),
    Case("boxes of a larger image", _set_box(lambda *b: [2 * value for value in b]),
         "box-not-mask", "not the bounds of their masks"),
]  # fmt: skip


def broken(content: dict, case: Case) -> dict:
    content = copy.deepcopy(content)
    case.breaks(content)
    return content


def build(folder: Path, images: Path, content: dict, **options):
    path = folder / "train.json"
    path.write_text(json.dumps(content))
    config = dict(type="CocoInstanceDataset", ann_file=str(path), data_prefix=dict(img=str(images)),
                  metainfo=dict(classes=shapes.CLASSES), pipeline=[])  # fmt: skip
    return DATASETS.build({**config, **options})


def errors(content: dict, **options) -> set[str]:
    found = check.check_content(content, **options).problems
    return {problem.code for _, _, problem in found if problem.is_error}


def test_the_good_file(content: dict, tmp_path: Path, shapes_root: Path):
    assert errors(content) == set()
    dataset = build(tmp_path, shapes_root / "train", content)
    instances = [i for k in range(16) for i in dataset.get_data_info(k)["instances"]]
    used = sum(not instance["ignore_flag"] for instance in instances)
    assert used == sum(not a["iscrowd"] for a in content["annotations"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_found_refused_and_fixed(case: Case, content: dict, tmp_path: Path, shapes_root: Path):
    """The check has an error, the dataset does not start, the cleaned copy is as the good file."""
    wrong = broken(content, case)
    assert case.code in errors(wrong)
    with pytest.raises(UserError, match=case.refused):
        build(tmp_path, shapes_root / "train", wrong)
    clean, log = check.cleaned(check.check_content(wrong))
    if case.name in ("unknown images", "all ignored"):  # there is no reading of these
        return
    assert errors(clean) == set() and log
    assert len(clean["annotations"]) == len(content["annotations"])
    for fixed, good in zip(clean["annotations"], content["annotations"], strict=True):
        np.testing.assert_allclose(fixed["bbox"], good["bbox"], atol=2.01)
        assert fixed["category_id"] == good["category_id"]
        mask_area = area_of(good["segmentation"], SIDE, SIDE)
        assert abs(fixed["area"] - good["area"]) < 0.1 or fixed["area"] == mask_area
    build(tmp_path, shapes_root / "train", clean)


@pytest.mark.parametrize("step", [-1, 1])
def test_image_ids_that_are_one_off(
    content: dict, step: int, tmp_path: Path, shapes_root: Path, said: list
):
    """Most are on the next image then: no copy of the rest is written as if it were good."""
    wrong = broken(content, Case("", each(lambda a: a.update(image_id=a["image_id"] + step)),
                                 None, None))  # fmt: skip
    assert "image-ids-shifted" in errors(wrong)
    clean, _ = check.cleaned(check.check_content(wrong))
    assert clean["annotations"] == []
    build(tmp_path, shapes_root / "train", wrong)
    level, text = said.pop()
    assert "of images that are not in the file" in text and "on a wrong image" in text
    assert level == logging.WARNING
    one = copy.deepcopy(content)
    one["annotations"][0]["image_id"] = 99
    assert "image-ids-shifted" not in errors(one)


def test_no_annotations_at_all(content: dict, tmp_path: Path, shapes_root: Path, said: list):
    """Images of background alone may be part of a training, but not unsaid."""
    empty = dict(content, annotations=[])
    assert len(build(tmp_path, shapes_root / "train", empty)) == len(content["images"])
    assert said.pop() == (logging.WARNING, f"{tmp_path}/train.json has no annotations: its "
                          "images are background.")  # fmt: skip
    build(tmp_path, shapes_root / "train", empty, test_mode=True)
    assert not said


def test_run_length_codes_that_polygons_alone_ignore(
    content: dict, tmp_path: Path, shapes_root: Path
):
    """Refused under poly2mask=False, fine otherwise; crowds with an RLE are never counted."""
    wrong = broken(content, Case("", each(lambda a: a.update(segmentation=_rle(a))), None, None))
    with pytest.raises(UserError, match=r"no annotation is left.*poly2mask=True"):
        build(tmp_path, shapes_root / "train", wrong, pipeline=[POLYGONS])
    assert errors(wrong, polygons_only=True) == {"nothing-trainable"}
    assert errors(wrong) == set()
    build(tmp_path, shapes_root / "train", wrong, pipeline=[{**POLYGONS, "poly2mask": True}])


def test_counts_are_what_loading_uses(content: dict, tmp_path: Path, shapes_root: Path):
    """All reasons at once, against mmdet's own parsing and loading."""
    wrong = copy.deepcopy(content)
    changes = [
        dict(ignore=1), dict(area=0), dict(area=-4.0), dict(bbox=[5, 5, 0.5, 9]),
        dict(bbox=[200, 5, 9, 9]), dict(category_id=99), dict(image_id=999), dict(iscrowd=1),
        dict(category_id=6, iscrowd=0), dict(segmentation=[[1, 2, 3, 4]]),
    ]  # fmt: skip
    for annotation, change in zip(wrong["annotations"][3:], changes, strict=False):
        annotation.update(change)
    classes = shapes.CLASSES[:5]
    pipeline = [dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=False)]
    dataset = build(tmp_path, shapes_root / "train", wrong, metainfo=dict(classes=classes),
                    pipeline=pipeline)  # fmt: skip
    used = 0
    for k in range(len(dataset)):
        info = dataset.get_data_info(k)
        info["ori_shape"] = (SIDE, SIDE)
        used += int((~dataset.pipeline(info)["gt_ignore_flags"]).sum())
    tally = dataset._tally(wrong)
    assert tally.used == used
    assert {"ignore", "area", "small", "outside", "category", "image", "crowd", "other-class",
            "polygon", "rle"} == set(tally.reasons) == set(REASONS)  # fmt: skip


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """What is logged about annotations: level and text."""
    lines: list[tuple[int, str]] = []
    monkeypatch.setattr(
        annotation_checks, "print_log", lambda text, logger, level: lines.append((level, text))
    )
    return lines


def test_a_share_is_a_warning(content: dict, tmp_path: Path, shapes_root: Path, said: list):
    """Little is a line in the log, much a warning with its reason."""
    images = shapes_root / "train"
    build(tmp_path, images, content)
    assert not said
    some = copy.deepcopy(content)
    some["annotations"][0]["area"] = 0
    build(tmp_path, images, some)
    level, text = said.pop()
    assert "1 with an area of 0" in text and level == logging.INFO
    for annotation in some["annotations"][:20]:
        annotation["area"] = 0
    build(tmp_path, images, some)
    level, text = said.pop()
    assert "20 with an area of 0" in text and level == logging.WARNING
    codes = {p.code for _, _, p in check.check_content(some).problems}
    assert {"area", "left-out"} <= codes
    some = copy.deepcopy(content)
    some["annotations"][0]["category_id"] = 99
    build(tmp_path, images, some)
    level, text = said.pop()
    assert "1 of category ids that are not in the file" in text and level == logging.WARNING


def test_images_whose_annotations_are_left_out(content: dict, tmp_path: Path, shapes_root: Path):
    """filter_empty_gt leaves them out, too; images of crowds alone stay, as in mmdet."""
    wrong = copy.deepcopy(content)
    for annotation in wrong["annotations"]:
        if annotation["image_id"] == 3:
            annotation["area"] = 0
        if annotation["image_id"] == 4:
            annotation["iscrowd"] = 1
    kept = build(tmp_path, shapes_root / "train", wrong, filter_cfg=dict(filter_empty_gt=True))
    ids = [kept.get_data_info(k)["img_id"] for k in range(len(kept))]
    assert ids == [i for i in range(1, 17) if i != 3]
    assert len(build(tmp_path, shapes_root / "train", wrong)) == 16


def test_single_wrong_boxes(content: dict, tmp_path: Path, shapes_root: Path, said: list):
    """One of a hundred is named in a warning, more are refused but for max_box_mismatch."""
    wrong = copy.deepcopy(content)
    first = wrong["annotations"][5]
    first["bbox"] = [value + 12 for value in first["bbox"][:2]] + first["bbox"][2:]
    build(tmp_path, shapes_root / "train", wrong)
    level, text = said.pop()
    assert f"annotation {first['id']}" in text and level == logging.WARNING
    assert errors(wrong) == {"box-not-mask"}
    with pytest.raises(UserError, match="max_box_mismatch"):
        build(tmp_path, shapes_root / "train", wrong, max_box_mismatch=0)
    all_wrong = broken(content, CASES[-1])
    build(tmp_path, shapes_root / "train", all_wrong, max_box_mismatch=1)
    with pytest.raises(UserError, match="max_box_mismatch must be"):
        build(tmp_path, shapes_root / "train", content, max_box_mismatch=2)


def test_validation_data_with_wrong_boxes(content: dict, tmp_path: Path, shapes_root: Path):
    """Scores would be wrong in silence; a set of crowds alone is no error there."""
    with pytest.raises(UserError, match="x1, y1, x2, y2"):
        build(tmp_path, shapes_root / "train", broken(content, CASES[7]), test_mode=True)
    all_crowds = broken(content, Case("", each(lambda a: a.update(iscrowd=1)), None, None))
    build(tmp_path, shapes_root / "train", all_crowds, test_mode=True, crowds="keep")


# ------------------------------------------------------------------------------- pure functions
@pytest.mark.parametrize("name", READINGS)
def test_readings_of_a_box(name: str):
    """Each reading is recognised for what it is, with a polygon, an RLE and parts."""
    width, height = 200, 120
    x, y, w, h = 30.0, 50.0, 90.0, 40.0
    box = {
        "x1, y1, x2, y2": [x, y, x + w, y + h],
        "center x, center y, width, height": [x + w / 2, y + h / 2, w, h],
        "fractions of the image's width and height": [x / 200, y / 120, w / 200, h / 120],
        "fractions x1, y1, x2, y2": [x / 200, y / 120, (x + w) / 200, (y + h) / 120],
        "fractions center x, center y, width, height": [75 / 200, 70 / 120, w / 200, h / 120],
        "y, x, height, width": [y, x, h, w],
        "y1, x1, y2, x2": [y, x, y + h, x + w],
    }[name]
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    parts = [[x, y, x + 9, y, x, y + 9], [x + w, y + h, x + 9, y + h, x + w, y + 9], [1, 2, 3, 4]]
    grid = np.zeros((height, width), np.uint8, order="F")
    grid[50:90, 30:120] = 1
    rle = pycocotools.mask.encode(grid)
    for mask in ([polygon], parts, dict(size=rle["size"], counts=rle["counts"].decode())):
        found = compare(box, mask, width, height)
        assert found is not None and found.reading == name
        assert found.repair == dict(bbox=[x, y, w, h])
        assert compare([x, y, w, h], mask, width, height) is None


def test_masks_that_are_wrong_where_the_box_is_right():
    box = [30.0, 50.0, 90.0, 40.0]
    polygon = [30.0, 50.0, 120.0, 50.0, 120.0, 90.0, 30.0, 90.0]
    small = [[v / (200, 120)[i % 2] for i, v in enumerate(polygon)]]
    found = compare(box, small, 200, 120)
    np.testing.assert_allclose(found.repair["segmentation"], [polygon], atol=0.01)
    box, polygon = [150.0, 20.0, 40.0, 30.0], [150.0, 20.0, 190.0, 20.0, 190.0, 50.0, 150.0, 50.0]
    swapped = [v for i in range(0, 8, 2) for v in (polygon[i + 1], polygon[i])]
    assert compare(box, [swapped], 200, 120).repair == dict(segmentation=[polygon])


def test_what_is_no_mismatch():
    """Borders that count or not, polygons beyond the image, masks that are none."""
    square = [10, 10, 60, 10, 60, 60, 10, 60]
    for box in ([10, 10, 50, 50], [10, 10, 51, 51], [9, 9, 51, 51], [11, 11, 48, 48]):
        assert compare(box, [square], 100, 100) is None
    beyond = [-20, 10, 60, 10, 60, 60, -20, 60]
    assert compare([0, 10, 60, 50], [beyond], 100, 100) is None
    assert compare([-20, 10, 80, 50], [beyond], 100, 100) is None
    for mask in ([], None, [[1, 2, 3, 4]], [[]], dict(size=[100, 100], counts=[10_000])):
        assert compare([10, 10, 50, 50], mask, 100, 100) is None


@pytest.mark.parametrize(
    ("used", "known", "meant"),
    [
        ({0, 1}, [1, 2], {0: 1, 1: 2}),
        ({1, 2, 3}, [0, 1, 2], {1: 0, 2: 1, 3: 2}),
        ({0, 1, 2}, [1, 5, 9], {0: 1, 1: 5, 2: 9}),
        ({1, 2, 3}, [11, 15, 19], {1: 11, 2: 15, 3: 19}),
        ({1, 2}, [1, 2, 3], None),
        ({1, 99}, [1, 2, 3], None),
        ({1, 2, 3}, [1, 2], None),  # a class was taken out of the list
        ({"a"}, [1], None),
        ({2}, [1, 3], None),  # one less and one more
        (set(), [1], None),
    ],
)
def test_ids_that_were_meant(used: set, known: list, meant: dict | None):
    assert meant_ids(used, known) == meant


def test_real_photos_pass_without_noise(coco_mini: Path, said: list):
    """Crowds, thin and small objects: no error, no warning, nothing refused."""
    for split, kind in (("train", "CocoInstanceDataset"), ("val", "CocoInstanceDataset"),
                        ("train", "CocoKeypointDataset")):  # fmt: skip
        name = "instances" if kind == "CocoInstanceDataset" else "person_keypoints"
        path = coco_mini / f"annotations/{name}_{split}2017.json"
        DATASETS.build(
            dict(type=kind, ann_file=str(path), pipeline=[],
                 data_prefix=dict(img=str(coco_mini / f"{split}2017")),
                 filter_cfg=dict(filter_empty_gt=True))
        )  # fmt: skip
        assert not said
        assert errors(json.loads(path.read_text())) == set()
        content = json.loads(path.read_text())
        images = {image["id"]: image for image in content["images"]}
        tally = Tally([c["id"] for c in content["categories"]])
        for annotation in content["annotations"]:
            tally.add(annotation, images[annotation["image_id"]])
        assert set(tally.reasons) <= {"crowd"} and not tally.mismatches


# ------------------------------------------------------------------------------ as a user sees it
def call(repo: Path, tool: str, folder: Path, *args: str) -> tuple[int, str]:
    """Exit code and output of a tool in a forked child."""
    log = folder / "output.txt"
    log.unlink(missing_ok=True)

    def run() -> None:
        os.chdir(folder)
        sys.argv = [tool, *args]
        runpy.run_path(str(repo / "tools" / tool), run_name="__main__")

    return finish(fork(run, log)), log.read_text()


TOLD = ("boxes in fractions", "area 0", "ids one less", "boxes as corners")


@pytest.mark.parametrize("case", [c for c in CASES if c.name in TOLD], ids=lambda c: c.name)
def test_tools(case: Case, content: dict, tmp_path: Path, shapes_root: Path, repo: Path):
    """tools/train.py ends with 2 before it trains; tools/check_dataset.py with 1, and fixes."""
    data = tmp_path / "data"
    (data / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (data / split).symlink_to(shapes_root / split)
    (data / "annotations/instances_val.json").symlink_to(
        shapes_root / "annotations/instances_val.json"
    )
    ann_file = data / "annotations/instances_train.json"
    ann_file.write_text(json.dumps(broken(content, case)))
    config = str(repo / "configs/mini/maskr_shapes.py")
    train = [config, "--data-root", str(data), "--work-dir", str(tmp_path / "work")]
    train += ["--cfg-options", "train_dataloader.num_workers=0",
              "train_dataloader.persistent_workers=False"]  # fmt: skip
    code, output = call(repo, "train.py", tmp_path, *train)
    assert code == 2 and "Traceback" not in output, output[-2000:]
    assert "error: " in output and str(ann_file) in output
    assert "Epoch(train)" not in output
    copied = tmp_path / "clean.json"
    code, output = call(repo, "check_dataset.py", tmp_path, str(ann_file), "--fix", str(copied))
    assert code == 1 and case.code in output
    code, output = call(repo, "check_dataset.py", tmp_path, str(copied))
    assert code == 0, output
