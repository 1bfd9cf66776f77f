"""Entries of a COCO file as arrays, without loss; unusual fields are kept as JSON.

Symbols: I images, N annotations, P polygons, R run-length codes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from mmdet_maskr.coco.check.values import LARGEST
from mmdet_maskr.coco.index.columns import Columns, Flag, Ids, floats, need, numbers, types, within
from mmdet_maskr.coco.index.fast_json import dumps
from mmdet_maskr.coco.index.masks import Rests, add_masks
from mmdet_maskr.coco.index.sections import Doubt

IMAGE_FIELDS = frozenset({"id", "width", "height", "file_name"})
FIELDS = frozenset(
    {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore", "segmentation"}
    | {"keypoints", "num_keypoints"}
)
_ABSENT = object()  # stands where an entry lacks a field
_FEW = 16  # kinds of entries, by their fields, that are looked at field by field

Fields = Mapping[str, Sequence[Any]]


def add_images(columns: Columns, images: Sequence[Any], ids: Ids) -> None:
    """Add entries of ``images``.

    Args:
        columns: get ``width``, ``height`` (I,), the names and what else there is.
        images: the entries.
        ids: gets theirs.

    Raises:
        Doubt: an entry is not plain.
    """
    need(types(images) <= {dict}, "images that are no objects")
    fields, rests = _transposed(images, IMAGE_FIELDS)
    names = fields.get("file_name", [""] * len(images))  # LVIS v1 has none
    sides = [*_all("width", fields, images), *_all("height", fields, images)]
    need(types(sides) <= {int} and types(names) <= {str}, "types")
    need("file_name" not in fields or all(names), "names")
    need(not any("\0" in name for name in names), "names")
    try:
        sizes = np.array(sides, np.int64).reshape(2, -1)
    except OverflowError as error:
        raise Doubt("sides") from error
    need(not len(names) or (sizes.min() > 0 and sizes.max() <= LARGEST), "sides")
    ids.add(_all("id", fields, images))
    columns.add(width=sizes[0].astype(np.int32), height=sizes[1].astype(np.int32))
    columns.add_texts("file_name", [name.encode("utf-8", "surrogatepass") for name in names])
    _add_rests(columns, "image_rest", rests, len(images))


def add_annotations(
    columns: Columns,
    entries: Sequence[Any],
    ids: dict[str, Ids],
    known: Collection[Any] | None = None,
) -> None:
    """Add entries of ``annotations``.

    Args:
        columns: get their fields.
        entries: the annotations.
        ids: by ``id``, ``image_id`` and ``category_id``; get theirs.
        known: ids of images. Codes of other images are not looked at; None looks at all.

    Raises:
        Doubt: an entry is not plain.
    """
    need(types(entries) <= {dict}, "annotations that are no objects")
    fields, rests = _transposed(entries, FIELDS)
    for key in ids:
        ids[key].add(_all(key, fields, entries))
    boxes = _all("bbox", fields, entries)
    need(types(boxes) <= {list} and set(map(len, boxes)) <= {4}, "boxes")
    columns.add(bbox=numbers(list(chain.from_iterable(boxes))).reshape(-1, 4))
    columns.add(area=numbers(list(_all("area", fields, entries))))
    flags = np.zeros(len(entries), np.uint16)
    _add_marks(fields, flags, rests)
    masks: Sequence[Any] = fields.get("segmentation", ())
    if len(masks) < len(entries):
        masks = [()] * len(entries)
    else:
        masks, given = [() if mask is _ABSENT else mask for mask in masks], masks
        has_list = np.array([type(mask) is list for mask in given], bool)
        flags |= np.where(has_list, Flag.POLYGONS, 0).astype(np.uint16)
    if known is not None:
        for number, (mask, image) in enumerate(zip(masks, fields.get("image_id", ()), strict=True)):
            if type(mask) is dict and image not in known:
                flags[number] |= Flag.OTHER_MASK
                masks[number], rests[number]["segmentation"] = (), mask
    add_masks(columns, masks, flags, rests)
    _add_keypoints(columns, fields, rests, len(entries))
    columns.add(flags=flags)
    _add_rests(columns, "rest", rests, len(entries))


# ------------------------------------------------------------------------------------------ fields
def _transposed(entries: Sequence[dict], known: frozenset[str]) -> tuple[Fields, Rests]:
    """Values of all entries by field, and of each entry the fields that are not known."""
    layouts = set(map(tuple, entries))  # entries of a file are mostly alike
    rests: Rests = defaultdict(dict)
    if len(layouts) == 1:
        names = layouts.pop()
        fields = dict(zip(names, zip(*map(dict.values, entries), strict=True), strict=True))
        unknown = [name for name in names if name not in known]
        if unknown:
            rows = zip(*(fields[name] for name in unknown), strict=True)
            for number, row in enumerate(rows):
                rests[number] = dict(zip(unknown, row, strict=True))
        return fields, rests
    given = known.intersection(chain.from_iterable(layouts))
    if not known.issuperset(chain.from_iterable(layouts)):
        for number, entry in enumerate(entries):
            if not entry.keys() <= known:
                rests[number] = {key: entry[key] for key in entry if key not in known}
    return {key: [entry.get(key, _ABSENT) for entry in entries] for key in given}, rests


def _all(key: str, fields: Fields, entries: Sequence) -> Sequence[Any]:
    """Values of a field that no entry may lack; checks of types refuse what stands for one."""
    if entries and key not in fields:
        raise Doubt(f"entries that lack {key}")
    return fields.get(key, ())


def _add_rests(columns: Columns, name: str, rests: Rests, count: int) -> None:
    if not rests:
        columns.add_nothing(name, count)
        return
    columns.add_texts(name, [dumps(rests[i]) if i in rests else b"" for i in range(count)])


def _add_marks(fields: Fields, flags: np.ndarray, rests: Rests) -> None:
    for field, set_, given in (
        ("iscrowd", Flag.CROWD, Flag.CROWD_GIVEN),
        ("ignore", Flag.IGNORE, Flag.IGNORE_GIVEN),
    ):
        values = fields.get(field, ())
        if types(values) == {int} and set(values) <= {0, 1}:
            flags |= np.where(np.array(values, bool), set_ | given, given).astype(np.uint16)
            continue
        for number, value in enumerate(values):
            if value is _ABSENT:
                continue
            flags[number] |= set_ if value else 0
            if type(value) is int and value in (0, 1):
                flags[number] |= given
            else:
                rests[number][field] = value


def _add_keypoints(columns: Columns, fields: Fields, rests: Rests, count: int) -> None:
    lists: Sequence[Sequence] = fields.get("keypoints", ())
    points = _plain(lists)
    if points is None:  # one by one
        given, lists = lists, [values if _is_plain(values) else () for values in lists]
        for number, (values, kept) in enumerate(zip(given, lists, strict=True)):
            if values is not _ABSENT and values is not kept:
                rests[number]["keypoints"] = values
        points = floats(list(chain.from_iterable(lists)))
    lengths = np.zeros(count, np.int64)
    if lists:
        lengths[:] = np.fromiter(map(len, lists), np.int64, count)
    found = np.full(count, -1, np.int32)
    for number, value in enumerate(fields.get("num_keypoints", ())):
        if type(value) is int and 0 <= value < 1 << 30:
            found[number] = value
        elif value is not _ABSENT:
            rests[number]["num_keypoints"] = value
    columns.add(keypoints=points, keypoint_length=lengths, num_keypoints=found)


def _plain(lists: Sequence[Any]) -> np.ndarray | None:
    """All keypoints, where each annotation's are plain."""
    if not (types(lists) <= {list} and all(lists)):
        return None
    values = list(chain.from_iterable(lists))
    if not types(values) <= {int, float}:
        return None
    try:
        points = floats(values)
    except Doubt:  # a whole number that no float holds
        return None
    return points if within(points, np.nextafter(1e15, 0)) else None


def _is_plain(keypoints: Any) -> bool:
    """Whether it is a list of numbers that floats hold."""
    return (
        type(keypoints) is list
        and bool(keypoints)
        and types(keypoints) <= {int, float}
        and -1e15 < min(keypoints) <= max(keypoints) < 1e15
    )
