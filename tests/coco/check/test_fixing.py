"""--fix fixes what has one reading, says loudly what it loses, and writes no empty copy."""

from __future__ import annotations

import copy
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cases import good

from mmdet_maskr.coco import check
from mmdet_maskr.coco.check.values import crowd_flag, number_of, whole_of


def texts(value: Any) -> Any:
    """All numbers as texts."""
    if isinstance(value, dict):
        return {key: texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [texts(item) for item in value]
    return str(value) if isinstance(value, (int, float)) else value


def floats(value: Any) -> Any:
    """All whole numbers with a point."""
    if isinstance(value, dict):
        return {key: floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [floats(item) for item in value]
    return float(value) if isinstance(value, int) else value


def without(section: str, key: str) -> Callable[[dict], dict]:
    def change(content: dict) -> dict:
        for entry in content[section]:
            entry.pop(key, None)
        return content

    return change


def numbered(section: str, key: str, values: list) -> Callable[[dict], dict]:
    def change(content: dict) -> dict:
        for entry, value in zip(content[section], values, strict=True):
            entry[key] = value
        return content

    return change


def of_positions(first: int) -> Callable[[dict], dict]:
    """Images without ids, which annotations name by their place."""

    def change(content: dict) -> dict:
        places = {image.pop("id"): place for place, image in enumerate(content["images"], first)}
        for annotation in content["annotations"]:
            annotation["image_id"] = places[annotation["image_id"]]
        return content

    return change


CHANGES: dict[str, Callable[[dict], dict]] = {
    "numbers as texts": texts,
    "annotations' numbers as texts": lambda c: {**c, "annotations": texts(c["annotations"])},
    "whole numbers with a point": floats,
    "no annotation ids": without("annotations", "id"),
    "annotation ids None": numbered("annotations", "id", [None, None, None]),
    "one annotation id": numbered("annotations", "id", [0, 0, 0]),
    "annotation ids of each image anew": numbered("annotations", "id", [1, 2, 1]),
    "image ids as texts in annotations": numbered("annotations", "image_id", ["7", "7", "8"]),
    "image ids with a point": numbered("annotations", "image_id", [7.0, "7.0", 8.0]),
    "image ids as texts in images": numbered("images", "id", ["7", "8"]),
    "no image ids, counted from 0": of_positions(0),
    "no image ids, counted from 1": of_positions(1),
    "no category ids": without("categories", "id"),
    "names that are numbers": numbered("categories", "name", [7, 8]),
    "crowds as words": numbered("annotations", "iscrowd", ["0", "false", "true"]),
    "crowds as numbers with a point": numbered("annotations", "iscrowd", [0.0, False, 1.0]),
    "sizes as texts": numbered("images", "width", ["40", "40.0"]),
    "one flat polygon": numbered("annotations", "segmentation", [
        [5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0], ["5", "5", "15", "5", "15", "15", "5", "15"],
        dict(size=["30", 40.0], counts=["0", 1200.0])]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_is_lost(name: str):
    """As many entries as before, with the values of the good file."""
    wrong = CHANGES[name](good())
    before = copy.deepcopy(wrong)
    found = check.check_content(wrong, keypoints=True)
    clean, log = check.cleaned(found)
    assert wrong == before, "the input is not touched"
    assert not [p for _, _, p in check.check_content(clean, keypoints=True).problems if p.is_error]
    assert [len(clean[key]) for key in ("images", "annotations", "categories")] == [2, 3, 2]
    if "texts in images" not in name and name != "numbers as texts":  # a text is an id, too
        assert log
    ids = [a["id"] for a in clean["annotations"]]
    assert len(set(ids)) == 3
    files = {image["id"]: image["file_name"] for image in clean["images"]}
    for fixed, wanted in zip(clean["annotations"], good()["annotations"], strict=True):
        assert files[fixed["image_id"]] == {7: "a.png", 8: "b.png"}[wanted["image_id"]]
        for key in ("bbox", "area", "segmentation"):
            assert fixed[key] == wanted[key]
        assert fixed["iscrowd"] == wanted["iscrowd"] and type(fixed["iscrowd"]) is int
        assert fixed.get("keypoints") == wanted.get("keypoints")
    names = {category["id"]: category["name"] for category in clean["categories"]}
    order = list(names.values())
    assert [order.index(names[a["category_id"]]) for a in clean["annotations"]] == [0, 1, 0]
    assert [(image["width"], image["height"]) for image in clean["images"]] == [(40, 30)] * 2
    assert all(type(image["width"]) is int for image in clean["images"])


def test_an_annotation_that_comes_twice_is_left_out():
    content = good()
    content["annotations"].append(copy.deepcopy(content["annotations"][0]))
    clean, log = check.cleaned(check.check_content(content, keypoints=True))
    assert len(clean["annotations"]) == 3 and len(log) == 1


@pytest.mark.parametrize(
    ("value", "number", "whole", "flag"),
    [
        ("3", 3, 3, 1), ("3.0", 3.0, 3, 1), (" 7 ", 7, 7, 1), ("1e2", 100.0, 100, 1),
        (3.5, 3.5, None, 1), ("0", 0, 0, 0), ("false", None, None, 0), ("True", None, None, 1),
        ("", None, None, 0),
        (None, None, None, 0), (True, None, None, 1), ("nan", None, None, None),
        ("inf", None, None, None), ("9" * 50, None, None, None), ([], None, None, None),
        ("1,5", None, None, None), (float("nan"), None, None, 1),
    ],
)  # fmt: skip
def test_values(value: Any, number: float | None, whole: int | None, flag: int | None):
    assert number_of(value) == number and whole_of(value) == whole and crowd_flag(value) == flag


@pytest.fixture
def run(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    def call(content: dict) -> tuple[int, str, str, Path]:
        source, copied = tmp_path / "in.json", tmp_path / "out.json"
        source.write_text(json.dumps(content))
        argv = ["check_dataset.py", str(source), "--fix", str(copied)]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as leaving:
            runpy.run_path(str(repo / "tools" / "check_dataset.py"), run_name="__main__")
        return leaving.value.code, *capfd.readouterr(), copied

    return call


def test_the_tool_writes_no_empty_copy(run):
    """Nothing can be fixed: exit code 2, no copy, and a log that says why."""
    content = good()
    for annotation in content["annotations"]:
        annotation.update(image_id=99)
    code, _, said, copied = run(content)
    assert code == 2 and "none of the 3 annotations" in said
    assert not copied.exists()
    assert copied.with_name("out.json.log").read_text().count("image-unknown") == 3


def test_the_tool_says_loudly_what_is_lost(run):
    content = good()
    content["annotations"][0].update(bbox=None, segmentation=[])
    code, shown, said, copied = run(content)
    assert code == 1 and "cleaned copy" in shown
    assert "WARNING: 1 of 3 annotations are missing in the cleaned copy" in said
    assert len(json.loads(copied.read_text())["annotations"]) == 2


def test_the_tool_is_silent_where_nothing_is_lost(run):
    code, _, said, copied = run(texts(good()))
    assert code == 1 and "WARNING" not in said
    assert len(json.loads(copied.read_text())["annotations"]) == 3
