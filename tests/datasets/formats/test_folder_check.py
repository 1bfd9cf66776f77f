"""``maskr check FOLDER``: what a training would read, in words and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import format_writers as writers
import pytest

import maskr


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMDET_MASKR_CACHE", str(tmp_path / "cache"))


def check(*words: object) -> int:
    """Exit code."""
    with pytest.raises(SystemExit) as ending:
        maskr.main(["check", *map(str, words)])
    return int(ending.value.code or 0)


@pytest.mark.parametrize(("name", "title"), [("coco", "COCO"), ("yolo", "YOLO")])
def test_a_folder_in_order(tmp_path: Path, capsys: pytest.CaptureFixture, name: str, title: str):
    root = tmp_path / "photos"
    getattr(writers, f"write_{name}")(root)
    assert check(root) == 0
    said = capsys.readouterr().out
    assert f": {title}" in said and "leaf" in said
    assert "train: 2 images" in said and "val: 1 images" in said
    assert check(root, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"].startswith(title) and found["refused"] is None
    assert found["classes"] == list(writers.CLASSES)
    assert {split: part["images"] for split, part in found["splits"].items()} == dict(
        train=2, val=1
    )
    for part in found["splits"].values():
        assert sum(part["objects"].values()) == part["annotations"]
        assert not [row for row in part["problems"] if row["severity"] == "error"]


def test_a_photo_on_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture):
    root = tmp_path / "photos"
    writers.write_coco(root)
    (train,), (val,) = root.rglob("a.png"), root.rglob("c.png")
    shutil.copy(train, val)
    assert check(root, "--json") == 0
    seen = capsys.readouterr()
    assert [[Path(path).name for path in pair] for pair in json.loads(seen.out)["leaks"]] == [
        ["a.png", "c.png"]
    ]
    assert "WARNING: 1 photos for validation or test are also" in seen.err


@pytest.mark.parametrize("name", ["coco", "yolo"])
@pytest.mark.parametrize("kept", [0.5, 0])
def test_a_truncated_photo(tmp_path: Path, capsys: pytest.CaptureFixture, name: str, kept: float):
    """It is a finding with a code, also where not even its size can be read."""
    root = tmp_path / "photos"
    getattr(writers, f"write_{name}")(root)
    (path,) = root.rglob("a.png")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert check(root, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [(row["code"], row["count"]) for row in found["left_out"]] == [("file-unreadable", 1)]
    assert found["left_out"][0]["first"][0]["where"] == str(path)
    assert found["refused"] is None and found["splits"]["train"]["images"] == 1
    path.write_bytes(content)
    assert check(root, "--json") == 0
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    assert check(root) == 2
    assert "none of the 3 photos can be decoded" in capsys.readouterr().err


def test_what_could_not_be_trained_is_said_with_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    root = tmp_path / "photos"
    writers.write_yolo(root)
    for path in root.rglob("c.*"):
        path.unlink()
    config = tmp_path / "config.py"
    config.write_text(
        f"train_dataloader = dict(dataset=dict(type='AnyInstanceDataset', data_root={str(root)!r}, "
        "pipeline=[], metainfo=dict(classes=('stone',))))",
        encoding="utf-8",
    )
    assert check(root, "--config", config) == 1
    said = capsys.readouterr().out
    assert "ERROR: " in said and "class-unknown" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--fix", "a.json"), "convert FOLDER OUT"),
        ((".",), "leave this argument out"),
        (("--format", "cvat"), "cvat"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture, words: tuple[str, ...], message: str
):
    writers.write_coco(tmp_path / "photos")
    assert check(tmp_path / "photos", *words) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_annotations(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "photos").mkdir()
    assert check(tmp_path / "photos") == 2
    assert capsys.readouterr().err.count("\n") == 1
