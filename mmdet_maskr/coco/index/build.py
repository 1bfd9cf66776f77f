"""The arrays of an annotation file: a fast path, and a careful one for unusual files.

The fast way proves that a file is good, or gives up; then the careful one reads it as a whole and
looks at each entry, which names what is wrong. So messages are the same, and a good file costs
little.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from mmdet_maskr.coco.check.boxes import PIXELS, SHARE
from mmdet_maskr.coco.check.values import is_id
from mmdet_maskr.coco.index.columns import Arrays, Columns, Flag, Ids, list_of
from mmdet_maskr.coco.index.entries import add_annotations, add_images
from mmdet_maskr.coco.index.sections import Doubt, pieces

SECTIONS = ("images", "annotations", "categories")


class Built(NamedTuple):
    """What a file holds.

    Args:
        arrays: see :mod:`.columns` and :func:`_finish`.
        facts: what has no array, as JSON can hold it.
    """

    arrays: Arrays
    facts: dict[str, Any]


def build(text: bytes, read_carefully: Callable[[bytes], dict]) -> Built:
    """Arrays of a file.

    Args:
        text: its content.
        read_carefully: gives the parsed file, or raises what is wrong with it.
    """
    try:
        with _without_collecting():
            try:
                return _fast(text)
            except (Doubt, OverflowError):  # or a number that no array holds
                pass
            return _careful(read_carefully(text))
    finally:
        give_back()


@contextmanager
def _without_collecting() -> Iterator[None]:
    """No garbage collection meanwhile: it would look at millions of values that are no garbage."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def give_back() -> None:
    """Give memory that is free again back to the system, which glibc does not do by itself."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class _File:
    """What is gathered from a file."""

    def __init__(self) -> None:
        self.images, self.annotations = Columns(), Columns()
        self.image_ids = Ids()
        self.ids = {key: Ids() for key in ("id", "image_id", "category_id")}
        self.rest: dict[str, Any] = {}
        self.sections: dict[str, list] = {}

    def add(self, key: str, entries: Any, known: set | None = None) -> None:
        if key not in SECTIONS:
            if isinstance(self.rest.get(key), list):
                self.rest[key] += entries
            else:
                self.rest[key] = entries
            return
        if not isinstance(entries, list):
            raise Doubt(f"{key} is not a list")
        kept = self.sections.setdefault(key, [])
        if key == "categories":
            kept += entries
        elif key == "images":
            add_images(self.images, entries, self.image_ids)
        else:
            add_annotations(self.annotations, entries, self.ids, known)


def _fast(text: bytes) -> Built:
    file = _File()
    for piece in pieces(text):
        file.add(piece.key, piece.value)
    if not file.sections.keys() >= {"images", "categories"}:
        raise Doubt("a section is missing")
    for category in file.sections["categories"]:
        good = isinstance(category, dict) and is_id(category.get("id"))
        if not good or not isinstance(category.get("name"), str):
            raise Doubt("categories")
    built = _finish(file)
    _check(built)
    return built


def _careful(content: dict) -> Built:
    file = _File()
    known = {image["id"] for image in content["images"]}
    for key, value in content.items():
        file.add(key, value, known)
    return _finish(file)


def _finish(file: _File) -> Built:
    """Put together what was gathered.

    Raises:
        Doubt: there are no images or categories.
    """
    if "annotations" not in file.sections:
        add_annotations(file.annotations, [], file.ids)
    own, of_image = file.ids["id"].joined(), file.ids["image_id"].joined()
    categories, codes = _codes(file.ids["category_id"].joined())
    image_ids = file.image_ids.joined()
    if not len(image_ids) or not file.sections["categories"]:
        raise Doubt("nothing in a section")
    arrays = {**file.images.joined(), **file.annotations.joined(), "category": codes}
    arrays["items"], arrays["image"], strangers = _rows(image_ids, of_image)
    order = np.argsort(arrays["image"], kind="stable")
    order = order[np.count_nonzero(arrays["image"] < 0) :]
    counts = np.bincount(arrays["image"][order], minlength=len(image_ids))
    arrays.update(by_image=order.astype(np.int32), by_image_end=np.cumsum(counts))
    length, exact = np.diff(arrays.pop("part_end"), prepend=0), arrays["part_exact"]
    place = np.where(exact, np.cumsum(length * exact), np.cumsum(length * ~exact)) - length
    arrays.update(part_place=place, part_length=length.astype(np.int32))
    arrays["flags"] |= _differs(arrays)
    del arrays["bounds"]
    arrays["part_exact"] = exact.astype(np.uint8)
    facts = dict(
        categories=file.sections["categories"],
        category_ids=categories,
        strangers=strangers,
        has_annotations="annotations" in file.sections,
        rest=file.rest,
    )
    for name, ids in (("image_id", image_ids), ("id", own)):
        if isinstance(ids, list):
            facts[name] = ids
        else:
            arrays[name] = ids
    return Built(arrays, facts)


def _codes(values: np.ndarray | list) -> tuple[list, np.ndarray]:
    """Different values, and (N,) int32, which of them each is."""
    if isinstance(values, np.ndarray):
        return _codes_of_numbers(values)
    places: dict = {}
    codes = np.array([places.setdefault(value, len(places)) for value in values], np.int32)
    return list(places), codes


def _codes_of_numbers(values: np.ndarray) -> tuple[list, np.ndarray]:
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if high - low > 4 * len(values) + 1000:
        found, codes = np.unique(values, return_inverse=True)
        return found.tolist(), codes.astype(np.int32)
    present = np.zeros(high - low + 1, bool)
    present[values - low] = True
    places = np.cumsum(present, dtype=np.int32) - 1
    found = np.flatnonzero(present) + low if len(values) else values
    return found.tolist(), places[values - low]


def _rows(ids: np.ndarray | list, wanted: np.ndarray | list) -> tuple[np.ndarray, np.ndarray, list]:
    """Where images are, by their ids, of which pycocotools knows the last.

    Returns:
        Rows of the different images, in the order in which their ids come first; (N,) rows of the
        wanted ones, and -1 - k for those with the k-th of the ids that there are not; these ids.
    """
    if isinstance(ids, np.ndarray) and isinstance(wanted, np.ndarray):
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        place = np.searchsorted(ordered, wanted, "right") - 1
        found = ordered[place] == wanted
        rows = np.where(found, order[place], -1).astype(np.int32)
        strangers, codes = np.unique(wanted[~found], return_inverse=True)
        rows[~found] = -1 - codes
        last = np.append(np.diff(ordered) != 0, True)
        first = order[np.flatnonzero(np.insert(np.diff(ordered) != 0, 0, True))]
        items = order[last][np.argsort(first, kind="stable")]
        return items.astype(np.int32), rows, strangers.tolist()
    by_id = {i: row for row, i in enumerate(list_of(ids))}
    unknown: dict = {}
    rows = np.array(
        [
            by_id[i] if i in by_id else -1 - unknown.setdefault(i, len(unknown))
            for i in list_of(wanted)
        ],
        np.int32,
    )
    return np.array(list(by_id.values()), np.int32), rows, list(unknown)


def _differs(arrays: Arrays) -> np.ndarray:
    """The flag BOX_DIFFERS (N,): what check.boxes.compare finds, for all annotations at once."""
    inside = arrays["image"] >= 0
    row = np.where(inside, arrays["image"], 0)
    limits = np.stack([arrays["width"][row], arrays["height"][row]] * 2, axis=1)
    box, bounds = arrays["bbox"], arrays["bounds"]
    corners = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
    corners = np.minimum(np.maximum(corners, 0), limits)
    bounds = np.minimum(np.maximum(bounds, 0), limits)  # NaN stays, and compares as no difference
    tolerance = np.maximum(PIXELS, SHARE * (bounds[:, 2:] - bounds[:, :2]))
    differs = (np.abs(corners - bounds) > np.tile(tolerance, 2)).any(1) & inside
    return np.where(differs, Flag.BOX_DIFFERS, 0).astype(np.uint16)


def _check(built: Built) -> None:
    """Check what takes the whole file.

    Raises:
        Doubt: ids that are no numbers or come twice, codes of another size than their image.
    """
    arrays, facts = built
    if "id" in facts or "image_id" in facts:
        raise Doubt("ids that are texts")
    steps = np.diff(arrays["id"])
    if not ((steps > 0).all() or (np.diff(np.sort(arrays["id"])) > 0).all()):
        raise Doubt("an id that comes twice")
    flags, image = arrays["flags"], arrays["image"]
    if ((flags & Flag.OTHER_MASK != 0) & (image >= 0)).any():
        raise Doubt("a mask of another kind")
    codes = np.flatnonzero(flags & (Flag.RLE_TEXT | Flag.RLE_LIST))
    rows = image[codes]
    sizes = np.stack([arrays["height"][rows], arrays["width"][rows]], axis=1)
    if ((arrays["rle_size"] != sizes).any(1) & (rows >= 0)).any():
        raise Doubt("a run-length code of another size")
