"""A folder that says nothing of splits is split: classes in proportion, copies together."""

from __future__ import annotations

import json
import runpy
import sys
from collections import Counter
from pathlib import Path

import format_writers as writers
import numpy as np
import pytest
from PIL import Image

from mmdet_maskr.datasets.formats import Collection, Object, Photo
from mmdet_maskr.datasets.formats.splits import alike, assign_splits, folds, leaks
from mmdet_maskr.errors import UserError


def noise(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (40, 60), dtype=np.uint8)).resize((120, 80)).save(path)


def collection(folder: Path, count: int = 40, rare: int = 5) -> Collection:
    """Photos of two leaves each; the first ``rare`` have a thorn as well."""
    found = Collection("test", classes=["leaf", "thorn"], root=folder)
    for i in range(count):
        path = folder / f"{i}.png"
        noise(path, i)
        objects = [Object("leaf"), Object("leaf")] + [Object("thorn")] * (i < rare)
        found.photos.append(Photo(path, objects))
    return found


def counts(photos: list[Photo]) -> Counter:
    return Counter(item.label for photo in photos for item in photo.objects)


@pytest.mark.parametrize("seed", range(4))
def test_in_proportion(tmp_path: Path, seed: int):
    found = collection(tmp_path)
    assign_splits(found, 0.2, seed)
    val = [photo for photo in found.photos if photo.split == "val"]
    assert len(val) == pytest.approx(8, abs=1)
    assert counts(val)["thorn"] == 1
    assert {photo.split for photo in found.photos} == {"train", "val"}


def test_seeded(tmp_path: Path):
    def chosen(seed: int) -> list[str]:
        found = collection(tmp_path)
        assign_splits(found, 0.2, seed)
        return [photo.path.name for photo in found.photos if photo.split == "val"]

    assert chosen(0) == chosen(0)
    assert len({tuple(chosen(seed)) for seed in range(5)}) > 1


def test_copies_stay_together(tmp_path: Path):
    """Augmented copies by their names, frames of a scene by their looks."""
    found = collection(tmp_path, 20)
    names = ["x_jpg.rf.0123456789abcdef.png", "x_jpg.rf.fedcba9876543210.png"]
    for i, name in enumerate(names):
        noise(tmp_path / name, 100 + i)
        found.photos.append(Photo(tmp_path / name))
    brighter = np.asarray(Image.open(tmp_path / "3.png")) // 2 + 100
    Image.fromarray(brighter.astype(np.uint8)).save(tmp_path / "frame.png")
    found.photos.append(Photo(tmp_path / "frame.png"))
    groups = [{photo.path.name for photo in group} for group in alike(found.photos)]
    assert {*names} in groups
    assert {"3.png", "frame.png"} in groups
    assert len(groups) == 21


def test_a_background_that_is_alike_splits_nothing(tmp_path: Path):
    photos = []
    for i in range(10):
        image = np.tile(np.arange(90, dtype=np.uint8), (80, 1))
        image[10 + i, 5] = 255
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        photos.append(Photo(tmp_path / f"{i}.png"))
    assert len(alike(photos)) == 10


@pytest.mark.parametrize("given", ["train and val", "train", "train and test", "val outside"])
def test_splits_that_are_there_stay(tmp_path: Path, given: str):
    found = collection(tmp_path, 20)
    for i, photo in enumerate(found.photos):
        photo.split = "train"
        if given == "train and val":
            photo.split = "val" if i < 3 else "train"
        elif given == "train and test":
            photo.split = "test" if i < 3 else "train"
        elif given == "val outside":
            photo.split = "val" if i < 3 else None
    assign_splits(found)
    splits = Counter(photo.split for photo in found.photos)
    assert splits["train"] > splits["val"] > 0
    if given in ("train and val", "val outside"):
        assert splits == {"train": 17, "val": 3}
    assert splits["test"] == (3 if given == "train and test" else 0)


def test_too_few(tmp_path: Path):
    with pytest.raises(UserError):
        assign_splits(collection(tmp_path, 1))


def test_folds(tmp_path: Path):
    found = collection(tmp_path, 20, rare=8)
    parts = folds(found.photos, 4)
    validated = [photo.path.name for _, val in parts for photo in val]
    assert sorted(validated) == sorted(photo.path.name for photo in found.photos)
    for train, val in parts:
        assert not {id(p) for p in train} & {id(p) for p in val} and len(train) + len(val) == 20
        assert 1 <= counts(val)["thorn"] <= 3
    with pytest.raises(UserError):
        folds(found.photos, 1)


def test_leaks(tmp_path: Path):
    """The same bytes under another name, and two copies of one photo."""
    photos = []
    for split, name, seed in [
        ("train", "a", 1), ("val", "b", 1), ("val", "c", 2),
        ("train", "d_jpg.rf.0123456789", 3), ("test", "d_jpg.rf.abcdef0123", 4),
    ]:  # fmt: skip
        noise(tmp_path / f"{name}.png", seed)
        photos.append(Photo(tmp_path / f"{name}.png", split=split))
    found = [(one.stem, two.stem) for one, two in leaks(photos)]
    assert found == [("a", "b"), ("d_jpg.rf.0123456789", "d_jpg.rf.abcdef0123")]


# ----------------------------------------------------------------------------------------- the tool
def convert(monkeypatch: pytest.MonkeyPatch, repo: Path, *args: object) -> int:
    tool = repo / "tools" / "convert_dataset.py"
    monkeypatch.setattr(sys, "argv", [str(tool), *map(str, args)])
    try:
        runpy.run_path(str(tool), run_name="__main__")
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def test_tool(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch):
    """What it writes is a dataset without errors, twice the same, and its images are there."""
    writers.write_vott(tmp_path / "set")
    for _ in range(2):
        assert convert(monkeypatch, repo, tmp_path / "set", tmp_path / "out") == 0
    names = []
    for split in ("train", "val"):
        content = json.loads((tmp_path / f"out/annotations/instances_{split}.json").read_text())
        assert [category["name"] for category in content["categories"]] == writers.CLASSES
        names += [image["file_name"] for image in content["images"]]
        assert all((tmp_path / "out/images" / image["file_name"]).is_file()
                   for image in content["images"])  # fmt: skip
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            assert 0 <= x < x + w <= writers.WIDTH and 0 <= y < y + h <= writers.HEIGHT
            assert annotation["area"] > 0 and annotation["segmentation"]
    assert sorted(names) == sorted(writers.OBJECTS)


@pytest.mark.parametrize(
    "args",
    [("nothing", "out"), ("set", "set"), ("set", "out", "--val-share", "1"),
     ("set", "out", "--format", "voc")],
)  # fmt: skip
def test_tool_refuses(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch, args: tuple):
    writers.write_vott(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    assert convert(monkeypatch, repo, *args) == 2
    assert not (tmp_path / "out").exists()
