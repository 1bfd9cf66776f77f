"""Each broken file is found out for what it is, fixed or left out, and refused by a training."""

from __future__ import annotations

import copy
import json
import random
import re
import runpy
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
from cases import CASES, COCO_CROWD, HEIGHT, WIDTH, Case, good
from PIL import Image

from mmdet_maskr.cli import checks_page
from mmdet_maskr.coco import check
from mmdet_maskr.coco.check.geometry import crosses_itself
from mmdet_maskr.coco.reader import read_annotations
from mmdet_maskr.datasets import CocoInstanceDataset
from mmdet_maskr.errors import UserError
from mmdet_maskr.run_lengths import decompress


def codes(content: dict, **options) -> set[str]:
    found = check.check_content(content, keypoints=True, **options)
    return {problem.code for _, _, problem in found.problems}


def test_good_file():
    assert codes(good(), classes=["cat", "person"]) == set()
    assert codes(good(), classes=["person", "cat"]) == set()  # labels follow names
    assert codes(good(), classes=["cat", "dog"]) == {"class-unknown"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_found_and_fixed(case: Case):
    """The problem is found; the cleaned copy has no errors left and keeps the input as it was."""
    content = good()
    case.breaks(content)
    before = copy.deepcopy(content)
    found = check.check_content(content, keypoints=True)
    assert case.code in {problem.code for _, _, problem in found.problems}
    clean, log = check.cleaned(found)
    assert repr(content) == repr(before)
    left = [p for _, _, p in check.check_content(clean, keypoints=True).problems if p.is_error]
    if "categor" not in case.name:
        # crowds and ignored objects alone are nothing to train on
        some = any(not a["iscrowd"] and not a.get("ignore") for a in clean["annotations"])
        none = clean["annotations"] and not some
        assert [p.code for p in left] == (["nothing-trainable"] if none else [])
        fixed = any((p.is_error and kind) or p.repair for kind, _, p in found.problems)
        assert bool(log) == fixed
    check.Report().table()


def unnamed() -> dict:
    """Persons whose keypoints have no names in the file: three with 3, one with 2."""
    content = good()
    del content["categories"][1]["keypoints"], content["categories"][1]["skeleton"]
    person = content["annotations"][1]
    content["annotations"] += [dict(person, id=4), dict(person, id=5, image_id=8)]
    content["annotations"].insert(0, dict(person, id=6, keypoints=[6, 6, 2, 9, 9, 1]))
    return content


@pytest.mark.parametrize(
    ("by_config", "lengths", "note"),
    [
        ({}, {9}, "3, as most of its annotations have"),
        ({"cat": 5}, {9}, "3, as most of its annotations have"),
        ({"person": 2}, {6}, "2, by the config"),
    ],
)
def test_keypoints_without_names(by_config: dict, lengths: set[int], note: str):
    """Their number is the config's, or that of most annotations; the others are left out."""
    found = check.check_content(unnamed(), keypoints=True, num_keypoints=by_config)
    assert {p.detail for _, _, p in found.problems if p.code == "keypoints-unnamed"} == {note}
    assert {p.code for _, _, p in found.problems} == {"keypoints-unnamed", "keypoint-length"}
    left = check.cleaned(found)[0]["annotations"]
    assert {len(a["keypoints"]) for a in left if "keypoints" in a} == lengths
    assert [a["id"] for a in left if "keypoints" not in a] == [1, COCO_CROWD]


def test_unnamed_keypoints_of_no_whole_number():
    """Two values a keypoint: no number of keypoints fits, and each is an error."""
    content = unnamed()
    for annotation in content["annotations"]:
        if "keypoints" in annotation:
            annotation.update(keypoints=[6, 6, 9, 9])
    assert codes(content) == {"keypoint-length"}
    for annotation in content["annotations"]:
        annotation.update(keypoints=[])  # as some tools write for what has none
        annotation.pop("num_keypoints", None)
    assert codes(content) == set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_training_refuses_or_copes(case: Case, tmp_path: Path):
    """The dataset gives samples of the right kind, or an error that names the file."""
    content = good()
    case.breaks(content)
    (tmp_path / "a.json").write_text(json.dumps(content))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=True),
        dict(type="PackDetInputs"),
    ]
    try:
        dataset = CocoInstanceDataset(
            ann_file=str(tmp_path / "a.json"), data_prefix=dict(img=str(tmp_path)),
            metainfo=dict(classes=("cat", "person")), pipeline=pipeline, max_unreadable=1,
        )  # fmt: skip
        samples = [dataset[index]["data_samples"] for index in range(len(dataset))]
    except UserError as error:
        assert str(tmp_path) in str(error)
        return
    for sample in samples:
        instances = sample.gt_instances
        assert instances.masks.to_ndarray().shape == (len(instances), HEIGHT, WIDTH)
        assert instances.bboxes.tensor.isfinite().all()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"x"', "{}", '{"images": []}', "\x00", "[" * 100_000, "NaN",
     '{"images": {}, "annotations": [], "categories": []}',
     '{"images": [], "annotations": [], "categories": []}', '{"images": [1' + "0" * 5000 + "]}"],
)  # fmt: skip
def test_no_coco_file(tmp_path: Path, text: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"annotation file .*a\.json"):
        read_annotations(path)
    with pytest.raises(UserError, match=r"annotation file .*a\.json"):
        CocoInstanceDataset(ann_file=str(path), pipeline=[])


def exif_rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(path, exif=exif)


def truncated(suffix: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, suffix)
        path.write_bytes(path.read_bytes()[:-200])

    return write


def bomb(path: Path) -> None:
    """A PNG that claims to be 100,000 pixels wide and high."""
    Image.new("RGB", (4, 4)).save(path, "png")
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    path.write_bytes(content)


def new(mode: str, kind: str = "png", size=(WIDTH, HEIGHT), **options) -> Callable[[Path], None]:
    return lambda path: Image.new(mode, size).save(path, kind, **options)


FILES = {
    "missing": (lambda path: path.unlink(missing_ok=True), {"file-missing"}),
    "folder": (lambda path: path.mkdir(), {"file-missing"}),
    "empty": (lambda path: path.write_bytes(b""), {"file-unreadable"}),
    "text": (lambda path: path.write_text("<html>404</html>"), {"file-unreadable"}),
    "truncated png": (truncated("png"), {"file-unreadable"}),
    "truncated jpeg": (truncated("jpeg"), {"file-unreadable"}),
    "bomb": (bomb, {"file-unreadable"}),
    "other size": (new("RGB", size=(HEIGHT, WIDTH)), {"size-mismatch"}),
    "rotated": (exif_rotated, {"exif-rotated"}),
    "grayscale": (new("L"), {"grayscale"}),
    "bits": (new("1"), {"grayscale"}),
    "alpha": (new("RGBA"), {"alpha"}),
    "16 bit": (new("I;16"), {"16-bit"}),
    "cmyk": (new("CMYK", "jpeg"), {"cmyk"}),
    "animated": (
        new("RGB", "gif", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT), "red")]),
        {"animated"},
    ),
    "good": (new("RGB"), set()),
    "palette": (new("P"), set()),
}


@pytest.mark.parametrize("name", list(FILES))
def test_image_files(tmp_path: Path, name: str):
    write, expected = FILES[name]
    path = tmp_path / "a.jpg"
    write(path)
    new("RGB")(tmp_path / "b.png")
    content = good()
    content["images"][0]["file_name"] = "a.jpg"
    found = check.check_content(content)
    check.check_files(found, tmp_path)
    assert {problem.code for _, _, problem in found.problems} == expected
    clean, _ = check.cleaned(found)
    assert len(clean["images"]) == (1 if any(p.is_error for _, _, p in found.problems) else 2)


def test_every_code_is_raised():
    """By the tests above: each code of the catalogue is that of a case."""
    of_files = set().union(*(codes for _, codes in FILES.values()))
    assert {case.code for case in CASES} | of_files | {"class-unknown"} == set(check.CATALOGUE)


def test_the_page_of_codes(repo: Path):
    """docs/checks.md has every code with its meaning and what to do."""
    text = (repo / "docs" / "checks.md").read_text(encoding="utf-8")
    assert checks_page.MARK in text
    assert text == checks_page.update(text), (
        "run python -m mmdet_maskr.cli.checks_page docs/checks.md"
    )
    listed = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    assert sorted(listed) == sorted(check.CATALOGUE)


def test_tool(
    tmp_path: Path,
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
):
    """Table, exit codes, cleaned copy and log; the input is not touched."""
    content = good()
    content["annotations"][0]["bbox"] = [5, 5, 0, 10]
    content["annotations"][1]["num_keypoints"] = 3
    ann_file = tmp_path / "in.json"
    ann_file.write_text(json.dumps(content))
    before = ann_file.read_bytes()
    for name in ("a.png", "b.png"):
        new("RGB")(tmp_path / name)

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["check_dataset.py", *args])
        with pytest.raises(SystemExit) as leaving:
            runpy.run_path(str(repo / "tools" / "check_dataset.py"), run_name="__main__")
        return leaving.value.code, *capfd.readouterr()

    out = tmp_path / "clean" / "out.json"
    code, shown, progress = run(str(ann_file), str(tmp_path), "--keypoints", "--fix", str(out))
    assert code == 1
    assert "error        1  box-degenerate" in shown
    assert "annotation 1 (0 x 10)" in shown
    assert "annotations: 3/3" in progress and "images: 2/2" in progress
    assert ann_file.read_bytes() == before
    log = out.with_name("out.json.log").read_text().splitlines()
    assert log == [
        'fixed annotation 1: box-degenerate (0 x 10): {"bbox": [5.0, 5.0, 10.0, 10.0]}',
        'fixed annotation 2: keypoint-count (3, not 2): {"num_keypoints": 2}',
    ]
    code, shown, _ = run(str(out), str(tmp_path), "--keypoints")
    assert code == 0 and "error" not in shown
    assert [a["id"] for a in json.loads(out.read_text())["annotations"]] == [1, 2, COCO_CROWD]
    config = tmp_path / "config.py"
    meta = dict(classes=("cat", "person"), keypoints=("a", "b"), keypoint_swaps=(),
                keypoint_sigmas=(0.1, 0.1), keypoint_classes=("person",))  # fmt: skip
    dataset = dict(type="CocoKeypointDataset", metainfo=meta)
    config.write_text(f"train_dataloader = dict(dataset={dataset})\n")
    ann_file.write_text(json.dumps(unnamed()))
    code, shown, _ = run(str(ann_file), "--keypoints", "--config", str(config))
    assert code == 1 and "category 2 'person' (2, by the config)" in shown
    assert "error        3  keypoint-length" in shown
    ann_file.write_bytes(before)
    code, _, message = run(str(ann_file), "--fix", str(ann_file))
    assert code == 2 and "is the input" in message
    assert ann_file.read_bytes() == before
    code, _, message = run(str(tmp_path / "none.json"))
    assert code == 2 and "there is no annotation file" in message


def test_run_lengths_as_pycocotools_reads_them():
    rng = np.random.default_rng(0)
    for size in ((1, 1), (7, 5), (HEIGHT, WIDTH), (300, 200), (1500, 1200)):
        for share in (0.0, 0.02, 0.5, 1.0):
            mask = np.asfortranarray(rng.random(size) < share, np.uint8)
            rle = pycocotools.mask.encode(mask)
            counts = decompress(rle["counts"])
            flat = np.repeat(np.arange(len(counts)) % 2, counts)
            assert np.array_equal(flat.reshape(size[::-1]).T, mask)


def test_crossing_against_a_loop():
    """Random polygons, against exact integer arithmetic on each pair of edges."""

    def side(p, q, r) -> int:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    rng = random.Random(0)
    seen = set()
    for _ in range(400):
        points = [(rng.randrange(12), rng.randrange(12)) for _ in range(rng.randrange(3, 8))]
        edges = list(zip(points, points[1:] + points[:1], strict=True))
        expected = any(
            side(*e, f[0]) * side(*e, f[1]) < 0 and side(*f, e[0]) * side(*f, e[1]) < 0
            for i, e in enumerate(edges)
            for f in edges[i + 1 :]
        )
        assert crosses_itself(np.array(points, float)) == expected
        seen.add(expected)
    assert seen == {True, False}
    circle = np.stack([np.cos(t := np.linspace(0, 6.28, 3000)), np.sin(t)], axis=1)
    assert not crosses_itself(circle)
    circle[2900] = -circle[2900]
    assert crosses_itself(circle)


def test_very_many_corners_take_no_time():
    """400,000 corners, which compared with one another would take hours."""
    circle = np.stack([np.cos(t := np.linspace(0, 6.28, 400_000)), np.sin(t)], axis=1)
    begin = time.monotonic()
    assert not crosses_itself(circle)
    assert time.monotonic() - begin < 5
