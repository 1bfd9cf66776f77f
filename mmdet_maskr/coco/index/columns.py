"""Entries of a COCO file as arrays, without loss; what has no array of its own is kept as JSON.

Symbols: I images, N annotations, P polygons, R run-length codes. A list of texts or of numbers
within entries is one array and where each entry's part ends, as a running count.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pycocotools.mask

from mmdet_maskr.coco.check.values import LARGEST
from mmdet_maskr.coco.index.fast_json import dumps
from mmdet_maskr.coco.index.run_lengths import total_lengths
from mmdet_maskr.coco.index.sections import Doubt

Arrays = dict[str, np.ndarray]

IMAGE_FIELDS = frozenset({"id", "width", "height", "file_name"})
FIELDS = frozenset(
    {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore", "segmentation"}
    | {"keypoints", "num_keypoints"}
)
_ABSENT = object()


class Flag:
    """What is known of an annotation: bits of ``flags``, plain integers for NumPy."""

    CROWD = 1
    CROWD_GIVEN = 2
    IGNORE = 4
    IGNORE_GIVEN = 8
    NULL_MASK = 16  # the field is there, and null
    POLYGONS = 32
    RLE_TEXT = 64
    RLE_LIST = 128
    OTHER_MASK = 256  # kept as JSON
    THREE_POINTS = 512  # one of the polygons has three points
    BOX_DIFFERS = 1024  # from the bounds of the mask, by check.boxes.compare


RLE = Flag.RLE_TEXT | Flag.RLE_LIST | Flag.OTHER_MASK


class Columns:
    """Arrays that grow piece by piece."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[np.ndarray]] = {}

    def add(self, **arrays: np.ndarray) -> None:
        """Add to the end of each array."""
        for name, values in arrays.items():
            self._pieces.setdefault(name, []).append(values)

    def add_texts(self, name: str, texts: Sequence[bytes]) -> None:
        """Add texts: ``NAME_text`` and ``NAME_length``."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self.add(**{f"{name}_text": np.frombuffer(b"".join(texts), np.uint8)})
        self.add(**{f"{name}_length": lengths})

    def joined(self) -> Arrays:
        """The arrays whole; ``NAME_length`` as ``NAME_end``. What was added is gone then."""
        found = {}
        for name in list(self._pieces):
            values = np.concatenate(self._pieces.pop(name))
            if name.endswith("_length"):
                name, values = name.removesuffix("_length") + "_end", np.cumsum(values)
            found[name] = values
        return found


class Ids:
    """Ids that grow piece by piece: numbers, and texts where a file has them."""

    def __init__(self) -> None:
        self._pieces: list[np.ndarray | list] = []

    def add(self, values: list) -> None:
        """Add some.

        Raises:
            Doubt: one is no id.
        """
        kinds = _types(values)
        _need(kinds <= {int, str}, "ids")
        try:
            self._pieces.append(values if str in kinds else np.array(values, np.int64))
        except OverflowError as error:
            raise Doubt("ids") from error

    def joined(self) -> np.ndarray | list:
        """All of them: (N,) int64, or a list where one is a text. What was added is gone then."""
        pieces, self._pieces = self._pieces, []
        if all(isinstance(piece, np.ndarray) for piece in pieces):
            return np.concatenate([np.zeros(0, np.int64), *pieces])
        return list(chain.from_iterable(map(list_of, pieces)))


def list_of(values: np.ndarray | list) -> list:
    """Values (N,) as Python's own."""
    return values.tolist() if isinstance(values, np.ndarray) else values


def add_images(columns: Columns, images: Sequence[Any], ids: Ids) -> None:
    """Add entries of ``images``.

    Args:
        columns: get ``width``, ``height`` (I,), the names and what else there is.
        images: the entries.
        ids: gets theirs.

    Raises:
        Doubt: an entry is not plain.
    """
    _need(_types(images) <= {dict}, "images that are no objects")
    try:
        own = [image["id"] for image in images]
        names = [image["file_name"] for image in images]
        sides = [image[side] for side in ("width", "height") for image in images]
    except KeyError as error:
        raise Doubt("an image that lacks a field") from error
    _need(_types(sides) <= {int} and _types(names) <= {str}, "types")
    _need(all(names) and not any("\0" in name for name in names), "names")
    sizes = np.array(sides, np.int64).reshape(2, -1)
    _need(not len(names) or (sizes.min() > 0 and sizes.max() <= LARGEST), "sides")
    ids.add(own)
    columns.add(width=sizes[0].astype(np.int32), height=sizes[1].astype(np.int32))
    columns.add_texts("file_name", [name.encode("utf-8", "surrogatepass") for name in names])
    columns.add_texts("image_rest", [_rest(image, IMAGE_FIELDS) for image in images])


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
    _need(_types(entries) <= {dict}, "annotations that are no objects")
    try:
        own = {key: [entry[key] for entry in entries] for key in ids}
        boxes = [entry["bbox"] for entry in entries]
        areas = [entry["area"] for entry in entries]
    except KeyError as error:
        raise Doubt("an annotation that lacks a field") from error
    for key, values in own.items():
        ids[key].add(values)
    _need(_types(boxes) <= {list} and set(map(len, boxes)) <= {4}, "boxes")
    columns.add(bbox=_numbers(list(chain.from_iterable(boxes))).reshape(-1, 4))
    columns.add(area=_numbers(areas))
    flags = np.zeros(len(entries), np.uint16)
    rests = [_unknown(entry, FIELDS) for entry in entries]
    _add_marks(entries, flags, rests)
    masks = [entry.get("segmentation", _ABSENT) for entry in entries]
    if known is not None:
        for number, (mask, image) in enumerate(zip(masks, own["image_id"], strict=True)):
            if type(mask) is dict and image not in known:
                flags[number] |= Flag.OTHER_MASK
                masks[number], rests[number]["segmentation"] = _ABSENT, mask
    _add_masks(columns, masks, flags, rests)
    _add_keypoints(columns, entries, rests)
    columns.add(flags=flags)
    columns.add_texts("rest", [dumps(rest) if rest else b"" for rest in rests])


# ------------------------------------------------------------------------------------------ fields
def _add_marks(entries: Sequence[dict], flags: np.ndarray, rests: list[dict]) -> None:
    for field, set_, given in (
        ("iscrowd", Flag.CROWD, Flag.CROWD_GIVEN),
        ("ignore", Flag.IGNORE, Flag.IGNORE_GIVEN),
    ):
        values = [entry.get(field, _ABSENT) for entry in entries]
        kinds = _types(values)
        if kinds == {object}:  # none has it
            continue
        if kinds == {int} and set(values) <= {0, 1}:
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


def _add_masks(
    columns: Columns, masks: Sequence[Any], flags: np.ndarray, rests: list[dict]
) -> None:
    kinds = _types(masks)
    _need(kinds <= {list, dict, object, type(None)}, "masks")
    _add_codes(columns, masks, flags, rests)
    if type(None) in kinds:
        flags[[mask is None for mask in masks]] |= Flag.NULL_MASK
    polygons: list = [mask if type(mask) is list else () for mask in masks]
    if list in kinds:
        flags[[type(mask) is list for mask in masks]] |= Flag.POLYGONS
    parts = list(chain.from_iterable(polygons))
    _need(_types(parts) <= {list}, "polygons")
    counts = np.fromiter(map(len, polygons), np.int64, len(polygons))
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    points = _floats(list(chain.from_iterable(parts)))
    _need(bool((np.abs(points) <= LARGEST).all()), "polygons far outside")  # also refuses NaN
    whole = (lengths >= 6) & (lengths % 2 == 0)
    owner = np.repeat(np.arange(len(masks)), counts)
    flags[owner[whole]] |= Flag.THREE_POINTS
    bounds = np.full((len(masks), 4), np.nan)
    _set_bounds(bounds, points, lengths, whole, owner)
    _set_code_bounds(bounds, masks, flags)
    exact = _in_cents(points, lengths)
    by_point = np.repeat(exact, lengths)
    columns.add(
        bounds=bounds,
        polygon_length=counts,
        part_length=lengths,
        part_exact=exact,
        cents=np.rint(points[by_point] * 100).astype(np.int32),
        points=points[~by_point],
    )


def _in_cents(points: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(P,) bool: polygons whose numbers are whole hundredths, which take half the place."""
    exact = np.rint(points * 100) / 100 == points
    if exact.all():
        return np.ones(len(lengths), bool)
    wrong = np.zeros(len(lengths), np.int64)
    np.add.at(wrong, np.repeat(np.arange(len(lengths)), lengths)[~exact], 1)
    return wrong == 0


def _set_bounds(
    bounds: np.ndarray,
    points: np.ndarray,
    lengths: np.ndarray,
    whole: np.ndarray,
    owner: np.ndarray,
) -> None:
    """Set x1, y1, x2, y2 of annotations with polygons of three points, as check.boxes has them."""
    if not whole.any():
        return
    if not whole.all():
        points, lengths, owner = points[np.repeat(whole, lengths)], lengths[whole], owner[whole]
    pairs = points.reshape(-1, 2)
    begin = (np.cumsum(lengths) - lengths) // 2
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    low = np.minimum.reduceat(np.minimum.reduceat(pairs, begin), first)
    high = np.maximum.reduceat(np.maximum.reduceat(pairs, begin), first)
    bounds[owner[first]] = np.concatenate([low, high], axis=1)


def _add_codes(
    columns: Columns, masks: Sequence[Any], flags: np.ndarray, rests: list[dict]
) -> None:
    texts: list[bytes] = []
    lists: list[list] = []
    sizes: list[list[int]] = []
    for number, mask in enumerate(masks):
        if type(mask) is not dict:
            continue
        size: Any = mask.get("size")
        counts: Any = mask.get("counts")
        plain = type(size) is list and len(size) == 2 and _types(size) == {int} and min(size) > 0
        text = type(counts) is str and counts.isascii()
        if not plain or not (text or (type(counts) is list and _types(counts) <= {int})):
            flags[number] |= Flag.OTHER_MASK
            rests[number]["segmentation"] = mask
            continue
        if len(mask) > 2:
            rests[number]["segmentation"] = mask
        flags[number] |= Flag.RLE_TEXT if text else Flag.RLE_LIST
        sizes.append(size)
        texts.append(counts.encode() if text else b"")
        lists.append([] if text else counts)
    try:
        runs = np.array(list(chain.from_iterable(lists)), np.int64)
        shape = np.array(sizes, np.int32).reshape(-1, 2)
    except OverflowError as error:
        raise Doubt("a run-length code") from error
    columns.add(rle_size=shape, runs=runs)
    columns.add(run_length=np.fromiter(map(len, lists), np.int64, len(lists)))
    columns.add_texts("rle", texts)


def _set_code_bounds(bounds: np.ndarray, masks: Sequence[Any], flags: np.ndarray) -> None:
    """Set those of annotations with run-length codes.

    Raises:
        Doubt: a code does not fill its size; compiled code trusts it.
    """
    places = np.flatnonzero(flags & (Flag.RLE_TEXT | Flag.RLE_LIST))
    if not len(places):
        return
    codes = []
    for place in places.tolist():
        mask = masks[place]
        if flags[place] & Flag.RLE_TEXT:
            codes.append(dict(mask, counts=mask["counts"].encode()))
            continue
        runs = np.array(mask["counts"], np.int64)
        fills = runs.sum() == mask["size"][0] * mask["size"][1]
        _need(bool((runs >= 0).all() and fills), "runs")
        codes.append(pycocotools.mask.frPyObjects(mask, *mask["size"]))
    areas = np.array([code["size"][0] * code["size"][1] for code in codes], np.int64)
    _need(max(areas) <= LARGEST**2, "sizes")
    _need((total_lengths([code["counts"] for code in codes]) == areas).all(), "run-length codes")
    found = pycocotools.mask.toBbox(codes)
    found[:, 2:] += found[:, :2]
    empty = (found[:, 2:] <= found[:, :2]).any(1)
    found[empty] = np.nan
    bounds[places] = found


def _add_keypoints(columns: Columns, entries: Sequence[dict], rests: list[dict]) -> None:
    given = [entry.get("keypoints", _ABSENT) for entry in entries]
    lists = [values if _is_plain(values) else () for values in given]
    for number, (values, kept) in enumerate(zip(given, lists, strict=True)):
        if values is not _ABSENT and values is not kept:
            rests[number]["keypoints"] = values
    counts = [entry.get("num_keypoints", _ABSENT) for entry in entries]
    numbers = np.full(len(entries), -1, np.int32)
    for number, count in enumerate(counts):
        if type(count) is int and 0 <= count < 1 << 30:
            numbers[number] = count
        elif count is not _ABSENT:
            rests[number]["num_keypoints"] = count
    columns.add(
        keypoints=_floats(list(chain.from_iterable(lists))),
        keypoint_length=np.fromiter(map(len, lists), np.int64, len(lists)),
        num_keypoints=numbers,
    )


def _is_plain(keypoints: Any) -> bool:
    """Whether it is a list of numbers that floats hold."""
    return (
        type(keypoints) is list
        and bool(keypoints)
        and _types(keypoints) <= {int, float}
        and -1e15 < min(keypoints) <= max(keypoints) < 1e15
    )


# ------------------------------------------------------------------------------------------ values
def _need(good: bool, what: str) -> None:
    if not good:
        raise Doubt(what)


def _types(values: Iterable) -> set[type]:
    return set(map(type, values))


def _numbers(values: list) -> np.ndarray:
    """Numbers of sensible size, as check.values.is_number has them."""
    _need(_types(values) <= {int, float}, "no numbers")
    found = _floats(values)
    _need(bool((np.abs(found) < 1e15).all()), "numbers out of bounds")  # also refuses NaN
    return found


def _floats(values: list) -> np.ndarray:
    try:
        return np.frombuffer(array("d", values), np.float64)
    except (TypeError, OverflowError) as error:
        raise Doubt("no numbers") from error


def _unknown(entry: dict, fields: frozenset[str]) -> dict:
    return {} if entry.keys() <= fields else {k: v for k, v in entry.items() if k not in fields}


def _rest(entry: dict, fields: frozenset[str]) -> bytes:
    rest = _unknown(entry, fields)
    return dumps(rest) if rest else b""
