"""Objects with iscrowd=1 that are none of COCO's crowds, as CVAT's brush writes them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import DATASETS, METRICS

from mmdet_maskr.coco import check, reader
from mmdet_maskr.coco.check.crowds import Crowds
from mmdet_maskr.errors import UserError

SIDE = 40


def brush(x: int, y: int, w: int, h: int) -> dict:
    """A rectangle as an uncompressed RLE, by columns."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + h, x : x + w] = True
    flat = mask.flatten(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    return dict(size=[SIDE, SIDE], counts=np.diff([0, *ends, flat.size]).tolist())


def file_of(*objects: tuple[int, int, bool], cvat: bool = False, ids: dict | None = None) -> dict:
    """Objects as (image, category, whether it is one with iscrowd=1)."""
    annotations = []
    for number, (image, category, flagged) in enumerate(objects, start=1):
        x, y, w, h = 2 * (number % 12), 3, 11, 9
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotation = dict(
            id=(ids or {}).get(number, number), image_id=image, category_id=category,
            bbox=[x, y, w, h], area=w * h, iscrowd=int(flagged),
            segmentation=brush(x, y, w, h) if flagged else [polygon],
        )  # fmt: skip
        annotations.append(
            {**annotation, **(dict(attributes=dict(occluded=False)) if cvat else {})}
        )
    return dict(
        images=[dict(id=i, file_name=f"{i}.png", width=SIDE, height=SIDE) for i in (1, 2, 3)],
        categories=[dict(id=1, name="crack"), dict(id=2, name="corrosão")],
        annotations=annotations,
    )


ALL = file_of((1, 1, True), (1, 2, True), (2, 1, True), (3, 2, True))
ONE_CLASS = file_of((1, 1, False), (1, 2, True), (2, 2, True), (3, 1, False), (3, 1, True))
CVAT = file_of((1, 1, False), (1, 1, True), (1, 2, False), (2, 1, False), (2, 2, False),
               (3, 2, True), (3, 2, False), (3, 1, False), cvat=True)  # fmt: skip
SEVERAL = file_of((1, 1, True), (1, 1, True), *[(2, 1, False)] * 20, (3, 2, False))
MANY = file_of(*[(i, 1, True) for i in (1, 2, 3)], *[(2, 1, False)] * 9, (3, 2, False))
COCO = file_of((1, 1, False), (1, 1, True), (2, 2, True),
               ids={2: 900_100_000_001, 3: 900_200_000_002})  # fmt: skip
PLAUSIBLE = file_of((1, 1, True), (2, 1, False), (3, 2, False))


@pytest.mark.parametrize(
    ("content", "single", "doubtful"),
    [
        (ALL, {1, 2}, set()),
        (ONE_CLASS, {2}, set()),
        (CVAT, {1, 2}, set()),
        (SEVERAL, set(), {1}),
        (MANY, set(), {1}),
        (COCO, set(), set()),
        (PLAUSIBLE, set(), set()),
    ],
)
def test_readings(content: dict, single: set, doubtful: set):
    annotations = content["annotations"]
    found = Crowds(annotations)
    assert (found.single, found.doubtful) == (single, doubtful)
    assert found.known == (content is COCO)
    flagged = {a["id"] for a in annotations if a["iscrowd"]}
    alone = {a["id"] for a in annotations if a["category_id"] in single}
    assert {a["id"] for a in annotations if found.is_single(a)} == flagged & alone
    assert not Crowds(annotations, "keep").single
    none = Crowds(annotations, "none")
    assert none.single == (set() if content is COCO else {a["category_id"] for a in annotations
                                                          if a["iscrowd"]})  # fmt: skip
    with pytest.raises(UserError, match="crowds="):
        Crowds(annotations, "some")


@pytest.mark.parametrize("seed", range(12))
def test_of_an_index(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    content = file_of(
        *[(int(rng.integers(1, 4)), int(rng.integers(1, 3)), bool(rng.random() < 0.3))
          for _ in range(int(rng.integers(1, 25)))],
        cvat=seed % 2 == 0, ids={2: 900_100_000_001},
    )  # fmt: skip
    for annotation in content["annotations"]:
        if seed % 3 == 0 and rng.random() < 0.1:
            annotation["iscrowd"] = [True, "0", "yes", 2, None][int(rng.integers(5))]
        if seed % 4 == 0 and rng.random() < 0.1:
            annotation["attributes"] = [{}, "none", None][int(rng.integers(3))]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    index = reader.checked_index(file)
    for reading in ("auto", "keep", "none"):
        found = reader.crowds_of(index, reading)
        expected = Crowds(content["annotations"], reading)
        assert found.known == expected.known and found.flagged == expected.flagged
        assert (found.single, found.doubtful) == (expected.single, expected.doubtful)
        if not found.known:  # else nothing is told
            assert found.total == expected.total


def test_what_is_told():
    names = {1: "crack", 2: "corrosão"}
    text = Crowds(ONE_CLASS["annotations"]).told(names)
    assert "all of the 2 of 'corrosão'" in text and "1 of the 3 of 'crack'" in text
    assert Crowds(file_of((1, 1, False))["annotations"]).told(names) == ""
    many = [dict(id=i, image_id=1, category_id=i, iscrowd="1") for i in range(12)]
    assert "4 more classes" in Crowds([*many, None, 3, dict(iscrowd=1)]).told({})


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    lines: list[tuple[int, str]] = []
    monkeypatch.setattr(
        reader, "print_log", lambda text, logger, level: lines.append((level, text))
    )
    return lines


@pytest.mark.parametrize("content", [ALL, ONE_CLASS, CVAT, SEVERAL, COCO, PLAUSIBLE])
@pytest.mark.parametrize("crowds", ["auto", "keep", "none"])
def test_data_set_and_evaluator(tmp_path: Path, content: dict, crowds: str, said: list):
    """The same objects are trained on and scored; nothing is left out without a line."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    for image in content["images"]:
        (tmp_path / image["file_name"]).touch()
    classes = ("crack", "corrosão")
    config = dict(
        type="CocoInstanceDataset", ann_file=str(path), data_prefix=dict(img=str(tmp_path)),
        metainfo=dict(classes=classes), pipeline=[], crowds=crowds, test_mode=True,
    )  # fmt: skip
    dataset = DATASETS.build(config)
    counted = Crowds(content["annotations"], crowds)
    ignored = sum(a["iscrowd"] and not counted.is_single(a) for a in content["annotations"])
    infos = [dataset.get_data_info(k) for k in range(len(dataset))]
    assert sum(i["ignore_flag"] for info in infos for i in info["instances"]) == ignored
    metric = METRICS.build(dict(type="CocoInstanceMetric", ann_file=str(path), crowds=crowds))
    assert sum(a["iscrowd"] for a in metric._coco_api.dataset["annotations"]) == ignored
    levels = [level for level, _ in said]
    loud = counted.single or counted.doubtful
    expected = [] if crowds == "keep" or counted.known else [
        logging.WARNING if loud else logging.INFO] * 2  # fmt: skip
    assert levels == expected
    assert all(str(path) in text for _, text in said)


@pytest.mark.parametrize("content", [ALL, ONE_CLASS, CVAT])
def test_check_and_cleaned_copy(content: dict):
    found = check.check_content(content)
    codes = [problem.code for _, _, problem in found.problems]
    single = Crowds(content["annotations"])
    count = sum(map(single.is_single, content["annotations"]))
    assert codes.count("crowd-single") == count > 0 and codes.count("crowds") == 1
    assert not any(problem.is_error for _, _, problem in found.problems)
    clean, log = check.cleaned(found)
    flagged = [a for a in clean["annotations"] if a["iscrowd"]]
    assert len(flagged) == sum(a["iscrowd"] for a in content["annotations"]) - count
    assert len(log) == count


def test_check_of_doubtful_ones():
    for content in (SEVERAL, MANY, PLAUSIBLE, COCO):
        problems = [problem for _, _, problem in check.check_content(content).problems]
        texts = [problem.detail for problem in problems if problem.code == "crowds"]
        assert len(texts) == (content is not COCO)
        assert any("crowds='none'" in text for text in texts) == (content in (SEVERAL, MANY))
        assert "crowd-single" not in {problem.code for problem in problems}
