"""A small good dataset and a hundred ways to break it, each with what must be found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

WIDTH, HEIGHT = 40, 30
COCO_CROWD = 900_100_000_008  # as COCO numbers it: of category 1 in image 8


def good() -> dict:
    """Two images, a polygon, a compressed and an uncompressed RLE, a person with keypoints."""
    square = [5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0]

    def annotation(number: int, image: int, category: int, **values) -> dict:
        base = dict(id=number, image_id=image, category_id=category, bbox=[5.0, 5.0, 10.0, 10.0],
                    area=100.0, iscrowd=0, segmentation=[list(square)])  # fmt: skip
        return {**base, **values}

    full = dict(size=[HEIGHT, WIDTH], counts=[0, WIDTH * HEIGHT])
    return dict(
        images=[
            dict(id=7, file_name="a.png", width=WIDTH, height=HEIGHT),
            dict(id=8, file_name="b.png", width=WIDTH, height=HEIGHT),
        ],
        annotations=[
            annotation(1, 7, 1),
            annotation(2, 7, 2, keypoints=[6, 6, 2, 9, 9, 1, 0, 0, 0], num_keypoints=2),
            annotation(COCO_CROWD, 8, 1, iscrowd=1, segmentation=full, bbox=[0, 0, WIDTH, HEIGHT]),
        ],
        categories=[
            dict(id=1, name="cat"),
            dict(id=2, name="person", keypoints=["head", "hand", "foot"], skeleton=[[1, 2]]),
        ],
    )


class Case(NamedTuple):
    """``breaks`` changes the good file in place; ``code`` is what is found then."""

    name: str
    code: str
    breaks: Callable[[dict], object]


def _set(section: str, index: int, **values) -> Callable[[dict], object]:
    return lambda content: content[section][index].update(copy.deepcopy(values))


def _drop(section: str, index: int, key: str) -> Callable[[dict], object]:
    return lambda content: content[section][index].pop(key)


def _replace(section: str, index: int, value: object) -> Callable[[dict], object]:
    return lambda content: content[section].__setitem__(index, value)


def _rle(**values) -> Callable[[dict], object]:
    def breaks(content: dict) -> None:
        content["annotations"][2]["segmentation"].update(values)

    return breaks


def _every(**values) -> Callable[[dict], object]:
    return lambda content: [a.update(copy.deepcopy(values)) for a in content["annotations"]]


def _shift(key: str, by: int) -> Callable[[dict], object]:
    return lambda content: [a.update({key: a[key] + by}) for a in content["annotations"]]


NAN, INF = float("nan"), float("inf")
BOW = [5.0, 5.0, 15.0, 15.0, 15.0, 5.0, 5.0, 15.0]

CASES = [
    *(
        Case(f"{section}[0] is {value!r}", "entry", _replace(section, 0, value))
        for section in ("annotations", "images", "categories")
        for value in (None, 3, "x", [])
    ),
    *(
        Case(f"annotation without {key}", code, _drop("annotations", 0, key))
        for key, code in dict(
            id="entry", image_id="image-unknown", category_id="category-unknown", bbox="entry",
            area="area", segmentation="mask-missing",
        ).items()
    ),
    *(
        Case(f"image without {key}", "entry", _drop("images", 0, key))
        for key in ("id", "file_name", "width", "height")
    ),
    *(
        Case(f"category without {key}", "entry", _drop("categories", 0, key))
        for key in ("id", "name")
    ),
    *(
        Case(f"id {value!r}", "entry", _set("annotations", 0, id=value))
        for value in (None, True, 1.5, [1], {}, 10**30)
    ),
    *(
        Case(f"width {value!r}", "entry", _set("images", 0, width=value))
        for value in (0, -3, "40", 40.0, None, True, 10**9)
    ),
    *(
        Case(f"file name {str(value)!r}", "entry", _set("images", 0, file_name=value))
        for value in ("", None, 5, "a\0.png")
    ),
    *(
        Case(f"file name {value!r}", "file-outside", _set("images", 0, file_name=value))
        for value in ("../a.png", "/etc/passwd", "x/../../a.png", "..\\a.png", "C:\\a.png")
    ),
    *(
        Case(f"box {value!r}", "entry", _set("annotations", 0, bbox=value))
        for value in (None, [], [1, 2, 3], [1, 2, 3, "4"], [1, 2, NAN, 4], [1, 2, INF, 4],
                      [1, 2, 3, 10**400], "1234", {"x": 1}, [1, 2, 3, True])
    ),
    *(
        Case(f"box {value!r}", "box-degenerate", _set("annotations", 0, bbox=value))
        for value in ([5, 5, 0, 10], [5, 5, 10, 0], [5, 5, -1, 10])
    ),
    *(
        Case(f"box {value!r}", "box-outside", _set("annotations", 0, bbox=value))
        for value in ([40, 5, 9, 9], [-9, 5, 9, 9], [5, 30, 9, 9], [5, -9, 9, 9])
    ),
    *(
        Case(f"box {value!r}", "box-sticks-out", _set("annotations", 0, bbox=value))
        for value in ([35, 5, 9, 9], [-3, 5, 9, 9], [5, 25, 9, 9], [5, -3, 9, 9])
    ),
    *(Case(f"area {v!r}", "area", _set("annotations", 0, area=v)) for v in (None, -1, NAN, "9")),
    *(
        Case(f"iscrowd {value!r}", "crowd-flag", _set("annotations", 0, iscrowd=value))
        for value in (2, True, "1", None)
    ),
    Case("crowd of polygons", "crowd-polygons", _set("annotations", 0, iscrowd=1)),
    Case("no polygon", "mask-missing", _set("annotations", 0, segmentation=[])),
    *(
        Case(f"segmentation {value!r}", "entry", _set("annotations", 0, segmentation=value))
        for value in (3, "x", [3], ["x"], [[1, 2, 3, 4, 5, "6"]], [[1, 2, 3, 4, 5, NAN]], {},
                      [[1, 2, INF, 4, 5, 6]], [[1, 2, 1e12, 4, 5, 6]], [[1, 2, 10**400, 4, 5, 6]])
    ),
    *(
        Case(f"polygon {value!r}", "polygon-short", _set("annotations", 0, segmentation=[value]))
        for value in ([], [1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7])
    ),
    Case("polygon outside", "polygon-outside",
         _set("annotations", 0, segmentation=[[5, 5, 45, 5, 15, 15]])),
    Case("bow", "polygon-crosses-itself", _set("annotations", 0, segmentation=[BOW])),
    *(
        Case(f"size {value!r}", code, _rle(size=value))
        for value, code in (
            ([WIDTH, HEIGHT], "rle-size"), ([HEIGHT, WIDTH + 1], "rle-size"), ([0, 0], "rle-size"),
            ([HEIGHT], "entry"), (None, "entry"), (["30", "40"], "entry"),
        )
    ),
    *(
        Case(f"counts {value!r}", "rle-counts", _rle(counts=value))
        for value in ([], [0, 5], [0, 10**6], [-5, 1205], [0, "1200"], [0, 1200.0], [0, 10**30],
                      None, 7, "", "0", "P", "\x00", "ü", "PPPPPPPPPP0", "ooooooo", "`Q1k0")
    ),
    *(
        Case(f"{len(v)} keypoint values", "keypoint-length", _set("annotations", 1, keypoints=v))
        for v in ([], [1, 2, 2], [0] * 8, [0] * 12)
    ),
    *(
        Case(f"keypoints {value!r}", "entry", _set("annotations", 1, keypoints=value))
        for value in ("x", [NAN] * 9, [None] * 9, {"a": 1})
    ),
    *(
        Case(f"visibility {value}", "keypoint-visibility",
             _set("annotations", 1, keypoints=[6, 6, value, 9, 9, 1, 0, 0, 0]))
        for value in (3, -1, 0.5)
    ),
    Case("keypoint outside", "keypoint-outside",
         _set("annotations", 1, keypoints=[60, 6, 2, 9, 9, 1, 0, 0, 0])),
    *(
        Case(f"num_keypoints {v!r}", "keypoint-count", _set("annotations", 1, num_keypoints=v))
        for v in (3, 0, None, "2")
    ),
    Case("annotation id doubled", "annotation-id-doubled", _set("annotations", 1, id=1)),
    Case("image id doubled", "image-id-doubled", _set("images", 1, id=7)),
    Case("file doubled", "file-name-doubled", _set("images", 1, file_name="a.png")),
    Case("category id doubled", "category-id-doubled", _set("categories", 1, id=1)),
    Case("category name doubled", "category-name-doubled", _set("categories", 1, name="cat")),
    Case("image unknown", "image-unknown", _set("annotations", 0, image_id=99)),
    Case("image as text", "image-unknown", _set("annotations", 0, image_id="7")),
    Case("category unknown", "category-unknown", _set("annotations", 0, category_id=99)),
    Case("category empty", "category-empty", _set("annotations", 1, category_id=1)),
    Case("image empty", "image-without-annotations", _set("annotations", 2, image_id=7)),
    Case("annotation ignored", "ignored", _set("annotations", 0, ignore=1)),
    Case("box tiny", "box-tiny", _set("annotations", 0, bbox=[5, 5, 0.5, 10])),
    Case("box half of the mask", "box-not-mask", _set("annotations", 0, bbox=[5, 5, 5, 5])),
    Case("all ignored", "nothing-trainable", _every(ignore=1)),
    Case("most left out", "left-out", _set("annotations", 0, ignore=1)),
    Case("boxes in fractions", "boxes-in-fractions", _every(bbox=[0.1, 0.2, 0.3, 0.4])),
    Case("category ids one less", "category-ids-shifted", _shift("category_id", -1)),
    Case("image ids one more", "image-ids-shifted", _shift("image_id", 1)),
    Case("crowd of a class without others", "crowd-single",
         lambda content: (_set("annotations", 0, category_id=2)(content),
                          _set("annotations", 2, id=3)(content))),
    Case("crowd with an id of its own", "crowds", _set("annotations", 2, id=3)),
    Case("keypoints without names", "keypoints-unnamed", _drop("categories", 1, "keypoints")),
]  # fmt: skip
