"""What the index of an annotation file gives back, and that it is kept whole or not at all."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest

from mmdet_maskr.coco.check.boxes import compare
from mmdet_maskr.coco.index import (
    AnnotationIndex,
    Flag,
    annotation_index,
    cache,
    fast_json,
    open_index,
    storage,
)
from mmdet_maskr.coco.index.build import _codes, build
from mmdet_maskr.coco.index.run_lengths import total_lengths
from mmdet_maskr.coco.index.sections import Doubt, pieces
from mmdet_maskr.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def rle(x: int, height: int = 60, width: int = 80) -> dict:
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[10:20, x : x + 12] = 1
    found = pycocotools.mask.encode(mask)
    return dict(size=list(found["size"]), counts=found["counts"].decode())


def content() -> dict[str, Any]:
    """A file with all kinds of entries that have no mistake."""
    images = [
        dict(id=7, file_name="é/a.jpg", width=80, height=60, license=3, coco_url="http://x/a.jpg"),
        dict(id=3, file_name="b.jpg", width=80, height=60),
        dict(id=5, file_name="c.jpg", width=80, height=60),
    ]
    square = [10.25, 10.5, 30.0, 10.5, 30.0, 20.0, 10.25, 20.0]
    annotations = [
        dict(bbox=[10.25, 10.5, 19.75, 9.5], segmentation=[square], iscrowd=0),
        dict(bbox=[10.25, 10.5, 19.75, 9.5], segmentation=[square, [1.0, 2.0], square]),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], segmentation=[[v + 1 / 3 for v in square]], ignore=1),
        dict(bbox=[20.0, 10.0, 12.0, 10.0], segmentation=rle(20), iscrowd=1),
        dict(bbox=[0.0, 0.0, 5.0, 60.0], segmentation=dict(size=[60, 80], counts=[0, 300, 4500])),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], segmentation=None, iscrowd="1", ignore=2.5),
        dict(
            bbox=[1.0, 2.0, 3.0, 4.0],
            segmentation=[],
            attributes={"parts": [{"a": 1}, {"b": "}, {"}]},
        ),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], keypoints=[1.0, 2.0, 2.0], num_keypoints=1),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], keypoints=[], num_keypoints="many", caption="\u2028 ü"),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], image_id=99),  # of no image
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = 1000 - number
        annotation.setdefault("image_id", (7, 3)[number % 2])
        annotation.update(category_id=(18, 2)[number % 2], area=float(number + 1))
    return dict(
        info={"year": 2026},
        images=images,
        annotations=annotations,
        categories=[dict(id=18, name="dog", supercategory="animal"), dict(id=2, name="bicycle")],
        videos=[{"id": 1}, {"id": 2}],
    )


def alike(**further: list) -> dict[str, Any]:
    """A file whose entries have the same fields, as COCO's.

    Args:
        further: fields of annotations, with a value for each of the first ones.
    """
    parsed = content()
    kept = [a for a in parsed["annotations"] if isinstance(a.get("segmentation"), list | dict)]
    kept = kept[: min([len(kept), *map(len, further.values())])]
    for number, annotation in enumerate(kept):
        for field in ("attributes", "ignore"):
            annotation.pop(field, None)
        annotation["iscrowd"] = number % 2
        annotation.update({field: values[number] for field, values in further.items()})
    for image in parsed["images"]:
        image.setdefault("license", 4)
        image["coco_url"] = f"http://x/{image['id']}.jpg"
    return dict(parsed, annotations=kept)


def write(path: Path, parsed: Any, **options: Any) -> Path:
    path.write_text(json.dumps(parsed, **options), encoding="utf-8")
    return path


def refuse(text: bytes) -> dict:
    raise AssertionError("the fast way is in doubt")


# ------------------------------------------------------------------------------------ what it holds
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_", [True, False])
def test_nothing_is_lost(tmp_path: Path, folder: Path, indent: int | None, ascii_: bool) -> None:
    file = write(tmp_path / "a.json", content(), indent=indent, ensure_ascii=ascii_)
    for _ in range(2):  # made, and found
        index = open_index(file)
        assert index.content() == content()
        assert index.place is not None and index.place.parent == folder


def test_the_fast_way_reads_a_good_file() -> None:
    text = json.dumps(content()).encode()
    built = build(text, refuse)
    assert AnnotationIndex(Path("a"), built).content() == content()


@pytest.mark.parametrize(
    "further",
    [
        {},
        dict(keypoints=[[1, 2, 2], [0.5, 3.25, 1]], num_keypoints=[1, 1]),
        dict(keypoints=[[1, 2, 2], [], [4, 5, 2]], num_keypoints=[1, 0, 1]),
        dict(keypoints=[[1, 2, 2], None], num_keypoints=[1, "two"]),
        dict(keypoints=[[1, 2, 1e16], [3, 4, 2]], ignore=[0, 1]),
        dict(keypoints=[[1 << 63, 2, 2], [3, 4, 2]], ignore=[1, True]),
        dict(text=["null", "é \u2028"], parts=[[{"a": None}], 2.5], number=[1 << 63, -0.125]),
    ],
)
def test_nothing_is_lost_of_entries_that_are_alike(further: dict[str, list]) -> None:
    parsed = alike(**further)
    index = AnnotationIndex(Path("a"), build(json.dumps(parsed).encode(), refuse))
    assert index.content() == parsed
    assert [type(a["id"]) for a in index.content()["annotations"]] == [int] * len(
        parsed["annotations"]
    )


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1 << 63, "\ud800", None, [1.5, {}]])
def test_values_without_an_array_are_kept_as_they_are(value: Any) -> None:
    kept = fast_json.loads(fast_json.dumps(dict(a=value, b="null")))
    assert repr(kept) == repr(dict(a=value, b="null"))


@pytest.mark.parametrize("ids", [[3, 9, 3, 4], [-5, 1 << 40, 7, -5], [2], []])
def test_codes_of_categories(ids: list[int]) -> None:
    found, codes = _codes(np.array(ids, np.int64))
    assert found == sorted(set(ids)) and codes.dtype == np.int32
    assert [found[code] for code in codes] == ids


def test_annotations_of_an_image_in_the_files_order(tmp_path: Path, folder: Path) -> None:
    index = open_index(write(tmp_path / "a.json", content()))
    for row, image in enumerate(content()["images"]):
        own = [a for a in content()["annotations"] if a["image_id"] == image["id"]]
        assert index.annotations(index.of_image(row)) == own
        assert index.image(row) == image


def test_hundredths_are_exact() -> None:
    parsed = content()
    values = np.random.default_rng(0).integers(-50000, 90000, 600) / 100
    parsed["annotations"][0]["segmentation"] = [
        values.tolist(),
        [0.1 + 0.2] * 6,
        values[:6].tolist(),
    ]
    index = AnnotationIndex(Path("a"), build(json.dumps(parsed).encode(), refuse))
    assert index.mask(0) == parsed["annotations"][0]["segmentation"]
    assert len(index.arrays["points"]) == 6 + 8  # the thirds of annotation 2, too


def test_boxes_that_differ_are_those_that_compare_finds() -> None:
    random = np.random.default_rng(1)
    parsed = content()
    template = parsed["annotations"][0]
    parsed["annotations"] = []
    for number in range(300):
        x, y, w, h = random.uniform(-5, 40, 4)
        points = [x, y, x + w, y, x + w, y + h, x, y + h]
        masks = [[points], [points, points[:3]], [points[:4]], rle(int(random.integers(0, 68))), []]
        shift = random.choice([0, 1.9, 2.1, 30], 4)
        box = (np.array([x, y, w, h]) + shift).tolist()
        if isinstance(masks[number % 5], dict):
            box = [float(random.integers(0, 68)), 10.0, 12.0, 10.0]
        own = dict(
            bbox=box, segmentation=masks[number % 5], id=number, image_id=(7, 3, 99)[number % 3]
        )
        parsed["annotations"].append({**template, **own})
    index = AnnotationIndex(Path("a"), build(json.dumps(parsed).encode(), refuse))
    expected = [
        bool(a["image_id"] != 99 and a["segmentation"])
        and compare(a["bbox"], a["segmentation"], 80, 60) is not None
        for a in parsed["annotations"]
    ]
    assert index.has(Flag.BOX_DIFFERS).tolist() == expected
    assert 20 < sum(expected) < 280


def test_run_lengths_of_many_codes() -> None:
    random = np.random.default_rng(2)
    masks = [np.asfortranarray(random.random((9, w)) < 0.4, np.uint8) for w in range(1, 40)]
    codes = [pycocotools.mask.encode(mask)["counts"] for mask in masks]
    assert total_lengths(codes).tolist() == [mask.size for mask in masks]
    for wrong in (b"", b"\x10", codes[0][:-1] + b"P", b"oooooooooo"):
        with pytest.raises(Doubt):
            total_lengths([codes[0], wrong])


def test_pieces_are_cut_between_entries_alone() -> None:
    entry = {"a": [{"x": 1}, {"y": '}, {"z": 1}]'}], "b": "}, {"}
    parsed = {
        "annotations": [dict(entry, id=i) for i in range(200)],
        "n": [[1], 2],
        "e": [],
        "s": 5,
    }
    for size in (1, 50, 1000):
        found: dict[str, Any] = {}
        for piece in pieces(json.dumps(parsed).encode(), size):
            if piece.in_list:
                found.setdefault(piece.key, []).extend(piece.value)
            else:
                found[piece.key] = piece.value
        assert found == parsed


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b'{"images": [{}]',
        b'{"images": [{}]} x',
        b'{"images": [{}], "images": []}',
        b'{"images": [{"a": "\xff"}]}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"images": [{}}',
        b'{"a": 1,}',
    ],
)
def test_other_texts_are_doubtful(text: bytes) -> None:
    with pytest.raises(Doubt):
        list(pieces(text))


# ---------------------------------------------------------------------------------------- mistakes
def change(section: str, number: int, **fields: Any) -> Callable[[dict], None]:
    return lambda parsed: parsed[section][number].update(fields)


def remove(section: str, number: int, field: str) -> Callable[[dict], None]:
    return lambda parsed: parsed[section][number].pop(field)


MISTAKES = {
    "box": change("annotations", 3, bbox=[1, 2, 3]),
    "box-text": change("annotations", 3, bbox=[1, 2, 3, "4"]),
    "box-true": change("annotations", 3, bbox=[1, 2, 3, True]),
    "box-nan": change("annotations", 3, bbox=[1, 2, 3, float("nan")]),
    "area": remove("annotations", 3, "area"),
    "area-large": change("annotations", 3, area=1e18),
    "id-twice": change("annotations", 3, id=999),
    "id-float": change("annotations", 3, id=1.0),
    "id-large": change("annotations", 3, id=1 << 70),
    "no-image-id": change("annotations", 3, image_id=None),
    "polygon": change("annotations", 3, segmentation=[[1, 2, 3, 4, 5, None]]),
    "polygon-flat": change("annotations", 3, segmentation=[1, 2, 3, 4, 5, 6]),
    "polygon-far": change("annotations", 3, segmentation=[[1, 2, 3, 4, 5, 1e9]]),
    "mask-text": change("annotations", 3, segmentation="none"),
    "rle-size": change("annotations", 3, segmentation=rle(3, 61)),
    "rle-cut": change("annotations", 3, segmentation=dict(rle(3), counts=rle(3)["counts"][:-1])),
    "rle-list": change("annotations", 3, segmentation=dict(size=[60, 80], counts=[1, 2])),
    "no-object": lambda parsed: parsed["annotations"].append(5),
    "width": change("images", 1, width=0),
    "file-name": change("images", 1, file_name=""),
    "image-id": remove("images", 1, "id"),
    "category": remove("categories", 1, "name"),
    "no-images": lambda parsed: parsed.update(images=[]),
    "no-categories": lambda parsed: parsed.pop("categories"),
    "no-annotations": lambda parsed: parsed.pop("annotations"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("make", [content, alike])
def test_mistakes_are_named_as_by_the_careful_way(
    tmp_path: Path, folder: Path, make: Callable[[], dict], mistake: str
) -> None:
    parsed = make()
    MISTAKES[mistake](parsed)
    file = write(tmp_path / "a.json", parsed)
    with pytest.raises(UserError) as careful:
        annotation_index.parse_carefully(file.read_bytes(), str(file), False)
    for _ in range(2):
        with pytest.raises(UserError) as found:
            open_index(file)
        assert str(found.value) == str(careful.value)


@pytest.mark.parametrize("text", [b"", b"{", b'{"images": [}', b"\xff\xfe", b"[" * 100000])
def test_no_json(tmp_path: Path, folder: Path, text: bytes) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(UserError, match=r"a\.json"):
        open_index(tmp_path / "a.json")


def test_files_that_only_the_careful_way_takes(tmp_path: Path, folder: Path) -> None:
    parsed = content()
    for entry in parsed["images"]:
        entry["id"] = f"image {entry['id']}"
    for entry in parsed["annotations"]:
        entry["image_id"] = f"image {entry['image_id']}"
    parsed["annotations"][9]["segmentation"] = dict(size="?", counts=[-5])  # of no image
    parsed["annotations"][1]["score"] = float("inf")
    for encoding in ("utf-8", "utf-8-sig"):
        file = tmp_path / f"{encoding}.json"
        file.write_text(json.dumps(parsed), encoding=encoding)
        for _ in range(2):
            index = open_index(file)
            assert index.content() == parsed
            assert index.annotations(index.of_image(1)) == [
                a for a in parsed["annotations"] if a["image_id"] == "image 3"
            ]


@pytest.mark.parametrize("make", [content, alike])
def test_images_without_names(tmp_path: Path, folder: Path, make: Callable[[], dict]) -> None:
    """LVIS v1 has none; for COCO they are a mistake, also where the index is there already."""
    parsed = make()
    for image in parsed["images"]:
        image.pop("file_name")
    assert (
        AnnotationIndex(Path("a"), build(json.dumps(parsed).encode(), refuse)).content() == parsed
    )
    file = write(tmp_path / "a.json", parsed)
    messages = []
    for _ in range(2):
        with pytest.raises(UserError, match="file_name") as found:
            open_index(file)
        messages.append(str(found.value))
        assert open_index(file, may_lack_names=True).content() == parsed
    assert messages[0] == messages[1]
    parsed["annotations"][1]["bbox"] = [1, 2]
    with pytest.raises(UserError, match="bbox of four"):
        open_index(write(file, parsed), may_lack_names=True)
    parsed["images"][1]["file_name"] = "b.jpg"  # some have
    with pytest.raises(UserError, match="file_name"):
        open_index(write(file, parsed), may_lack_names=True)


def test_the_last_image_of_an_id_counts(tmp_path: Path, folder: Path) -> None:
    parsed = content()
    parsed["images"].append(dict(parsed["images"][0], file_name="again.jpg"))
    index = open_index(write(tmp_path / "a.json", parsed))
    assert [index.image(row)["file_name"] for row in index.items] == ["again.jpg", "b.jpg", "c.jpg"]
    assert len(index.of_image(3)) == 5 and len(index.of_image(0)) == 0


def test_a_file_without_annotations(tmp_path: Path, folder: Path) -> None:
    parsed = content()
    del parsed["annotations"]
    file = write(tmp_path / "a.json", parsed)
    index = open_index(file, may_lack_annotations=True)
    assert index.content() == parsed and index.num_annotations == 0
    with pytest.raises(UserError, match="annotations"):
        open_index(file)  # also of what is kept


# ------------------------------------------------------------------------------------------- cache
def test_the_second_start_reads_no_annotations(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.json", content())
    os.utime(file, (1, 1))
    monkeypatch.setattr(cache, "_SETTLED", -1e9)
    open_index(file)
    monkeypatch.setattr(annotation_index, "build", lambda *a: pytest.fail("it is made again"))
    monkeypatch.setattr(cache, "digest_of", lambda *a: pytest.fail("it is hashed again"))
    index = open_index(file)
    assert index.content() == content()
    with pytest.raises(ValueError, match="read-only"):
        index.arrays["bbox"][0] = 0


@pytest.mark.parametrize("settled", [-1e9, 2.0])
def test_a_changed_file_is_read_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, settled: float
) -> None:
    monkeypatch.setattr(cache, "_SETTLED", settled)
    file = write(tmp_path / "a.json", content())
    open_index(file)
    before = file.stat()
    changed = content()
    changed["images"][1]["file_name"] = "B.jpg"  # of the same length
    time.sleep(0.02)
    write(file, changed)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert open_index(file).image(1)["file_name"] == "B.jpg"


def test_a_copy_shares_the_index(tmp_path: Path, folder: Path) -> None:
    first = open_index(write(tmp_path / "a.json", content()))
    second = open_index(write(tmp_path / "b.json", content()))
    assert first.place == second.place and second.path.name == "b.json"


def damage(cut: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(cut(file.read_bytes()))


@pytest.mark.parametrize(
    "harm",
    [
        damage(lambda b: b""),
        damage(lambda b: b[:10]),
        damage(lambda b: b[: len(b) // 2]),
        damage(lambda b: b[:-1]),
        damage(lambda b: b + b"\0"),
        damage(lambda b: b[:-100] + bytes([b[-100] ^ 1]) + b[-99:]),
        damage(lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:]),
        damage(lambda b: b"maskriy\n" + b[8:]),
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: file.unlink(),
    ],
)
def test_a_damaged_index_is_not_used(
    tmp_path: Path, folder: Path, harm: Callable[[Path], None]
) -> None:
    file = write(tmp_path / "a.json", content())
    place = open_index(file).place
    assert place is not None
    harm(place)
    assert open_index(file).content() == content()
    assert open_index(file).content() == content()


def test_another_version_is_not_used(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.json", content())
    first = open_index(file).place
    monkeypatch.setattr(storage, "VERSION", storage.VERSION + 1)
    second = open_index(file)
    assert second.content() == content()  # the other version's file is made anew
    monkeypatch.setattr(cache, "VERSION", storage.VERSION)
    assert open_index(file).place != first


@pytest.mark.parametrize("value", ["off", "OFF", "0"])
def test_off_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(cache.VARIABLE, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    file = write(tmp_path / "a.json", content())
    index = open_index(file)
    assert index.place is None and index.content() == content()
    assert sorted(os.listdir(tmp_path)) == ["a.json"]


@pytest.mark.parametrize("kind", ["a file", "under a file"])
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(blocked if kind == "a file" else blocked / "x"))
    file = write(tmp_path / "a.json", content())
    index = open_index(file)
    assert index.place is None and index.content() == content()


def test_a_read_only_folder(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(folder, os.W_OK):
        pytest.skip("root writes anywhere")
    assert open_index(write(tmp_path / "a.json", content())).content() == content()


def test_a_full_disk(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, built: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "write", fail)
    index = open_index(write(tmp_path / "a.json", content()))
    assert index.place is None and index.content() == content()
    assert not list(folder.glob("*.partial")) and not list(folder.glob("*.index"))


PROGRAM = """
import os, sys, signal
from pathlib import Path
from mmdet_maskr.coco.index import open_index, storage
if sys.argv[2] == "kill":
    real = os.fsync
    os.fsync = lambda d: os.kill(os.getpid(), signal.SIGKILL)
print(sorted(open_index(sys.argv[1]).arrays["area"].tolist()))
"""


def start(file: Path, mode: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(file), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_while_writing_and_several_at_once(tmp_path: Path, folder: Path) -> None:
    file = write(tmp_path / "a.json", content())
    killed = start(file, "kill")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = folder.glob("*.partial")  # whole, but never flushed
    assert not list(folder.glob("*.index"))
    both = [start(file, "run") for _ in range(2)]
    for process in both:
        found, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert json.loads(found) == [float(i) for i in range(1, 11)]
    assert len(list(folder.glob("*.index"))) == 1
    os.utime(partial, (1, 1))
    cache.tidy(folder)
    assert not partial.exists()


def test_pickling_sends_the_name_alone(tmp_path: Path, folder: Path) -> None:
    file = write(tmp_path / "a.json", content())
    index = open_index(file)
    sent = pickle.dumps(index)
    assert len(sent) < 1000
    assert pickle.loads(sent).content() == content()
    assert copy.deepcopy(index) is index
    assert index.place is not None
    index.place.unlink()
    assert index.content() == content()  # what is mapped stays
    assert pickle.loads(sent).content() == content()


def test_pickling_of_what_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    index = open_index(write(tmp_path / "a.json", content()))
    assert pickle.loads(pickle.dumps(index)).content() == content()
