"""What the index of an annotation file gives back, and which mistakes it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest
from index_cases import alike, content, refuse, rle, write

from mmdet_maskr.coco.check.boxes import compare
from mmdet_maskr.coco.index import (
    AnnotationIndex,
    Flag,
    annotation_index,
    fast_json,
    open_index,
)
from mmdet_maskr.coco.index.build import _codes, build
from mmdet_maskr.coco.index.run_lengths import total_lengths
from mmdet_maskr.coco.index.sections import Doubt, pieces
from mmdet_maskr.errors import UserError


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
