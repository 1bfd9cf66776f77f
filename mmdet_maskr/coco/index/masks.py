"""Segmentations of a COCO file as arrays: polygons and run-length codes, and their bounds.

Symbols: N annotations, P polygons, R run-length codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pycocotools.mask

from mmdet_maskr.coco.check.values import LARGEST
from mmdet_maskr.coco.index.columns import Columns, Flag, floats, need, types, within
from mmdet_maskr.coco.index.run_lengths import total_lengths
from mmdet_maskr.coco.index.sections import Doubt

Rests = dict[int, dict[str, Any]]  # by an entry's number, fields that are kept as JSON


def add_masks(columns: Columns, masks: Sequence[Any], flags: np.ndarray, rests: Rests) -> None:
    """Add values of ``segmentation``.

    Args:
        columns: get them.
        masks: N lists, objects or None; () where there is none.
        flags: (N,), see :class:`.Flag`; those of lists are set, others are set here.
        rests: get codes that are not plain.

    Raises:
        Doubt: others, or compiled code cannot be trusted with one.
    """
    kinds = types(masks)
    need(kinds <= {list, dict, tuple, type(None)}, "masks")
    _add_codes(columns, masks if dict in kinds else (), flags, rests)
    if type(None) in kinds:
        flags[[mask is None for mask in masks]] |= Flag.NULL_MASK
    polygons = masks
    if not kinds <= {list, tuple}:
        polygons = [mask if type(mask) is list else () for mask in masks]
    parts = list(chain.from_iterable(polygons))
    need(types(parts) <= {list}, "polygons")
    counts = np.fromiter(map(len, polygons), np.int64, len(polygons))
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    points = floats(list(chain.from_iterable(parts)))
    need(within(points, LARGEST), "polygons far outside")
    whole = (lengths >= 6) & (lengths % 2 == 0)
    owner = np.repeat(np.arange(len(masks)), counts)
    flags[owner[whole]] |= Flag.THREE_POINTS
    bounds = np.full((len(masks), 4), np.nan)
    _set_bounds(bounds, points, lengths, whole, owner)
    _set_code_bounds(bounds, masks, flags)
    columns.add(bounds=bounds, polygon_length=counts, part_length=lengths)
    _add_points(columns, points, lengths)


def _add_points(columns: Columns, points: np.ndarray, lengths: np.ndarray) -> None:
    """Polygons whose numbers are whole hundredths, which take half the place, and the others."""
    cents = np.rint(points * 100)
    same = cents / 100 == points
    exact = np.ones(len(lengths), bool)
    if not same.all():
        owner = np.repeat(np.arange(len(lengths)), lengths)
        exact[owner[~same]] = False
        by_point = exact[owner]
        cents, points = cents[by_point], points[~by_point]
    else:
        points = np.zeros(0)
    columns.add(part_exact=exact, cents=cents.astype(np.int32), points=points)


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


def _add_codes(columns: Columns, masks: Sequence[Any], flags: np.ndarray, rests: Rests) -> None:
    texts: list[bytes] = []
    lists: list[list] = []
    sizes: list[list[int]] = []
    for number, mask in enumerate(masks):
        if type(mask) is not dict:
            continue
        size: Any = mask.get("size")
        counts: Any = mask.get("counts")
        plain = type(size) is list and len(size) == 2 and types(size) == {int} and min(size) > 0
        text = type(counts) is str and counts.isascii()
        if not plain or not (text or (type(counts) is list and types(counts) <= {int})):
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
        need(bool((runs >= 0).all() and fills), "runs")
        codes.append(pycocotools.mask.frPyObjects(mask, *mask["size"]))
    areas = np.array([code["size"][0] * code["size"][1] for code in codes], np.int64)
    need(max(areas) <= LARGEST**2, "sizes")
    need((total_lengths([code["counts"] for code in codes]) == areas).all(), "run-length codes")
    found = pycocotools.mask.toBbox(codes)
    found[:, 2:] += found[:, :2]
    empty = (found[:, 2:] <= found[:, :2]).any(1)
    found[empty] = np.nan
    bounds[places] = found
