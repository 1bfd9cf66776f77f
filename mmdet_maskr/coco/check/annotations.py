"""Checks of one image, category or annotation entry of a COCO file.

The input may be any JSON value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from mmdet_maskr.coco.check.boxes import area_of, box_of, compare
from mmdet_maskr.coco.check.geometry import crosses_itself
from mmdet_maskr.coco.check.problems import Problem
from mmdet_maskr.coco.check.values import (
    LARGEST,
    crowd_flag,
    is_box,
    is_id,
    is_number,
    is_polygon,
)
from mmdet_maskr.run_lengths import decompress

TOLERANCE = 1.0  # pixels: annotation tools round and place borders differently


def check_category(category: Any, index: int) -> Iterator[Problem]:
    """Problems of one entry of ``categories``."""
    where = f"categories[{index}]"
    if not isinstance(category, dict):
        yield Problem("entry", where, f"a {type(category).__name__}")
    elif not is_id(category.get("id")) or not isinstance(category.get("name"), str):
        yield Problem("entry", where, "needs an id and a name")
    elif "keypoints" in category and not (
        isinstance(category["keypoints"], list)
        and all(isinstance(name, str) for name in category["keypoints"])
    ):
        yield Problem("entry", where, "keypoints must be a list of names")


def check_image(image: Any, index: int) -> Iterator[Problem]:
    """Problems of one entry of ``images``."""
    where = f"images[{index}]"
    if not isinstance(image, dict) or not is_id(image.get("id")):
        yield Problem("entry", where, "needs an id")
        return
    where = f"image {image['id']}"
    name = image.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        yield Problem("entry", where, "needs a file_name")
    elif leads_outside(name):
        yield Problem("file-outside", where, name[:80])
    for side in ("width", "height"):
        value = image.get(side)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST:
            yield Problem("entry", where, f"{side} {str(value)[:20]}")


def leads_outside(name: str) -> bool:
    """Whether a file name is absolute or points outside of its folder."""
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.drive or ".." in path.parts:
            return True
    return False


def check_annotation(
    annotation: dict, where: str, width: int, height: int, joints: int | None
) -> Iterator[Problem]:
    """Problems of one annotation's own values.

    Args:
        annotation: the entry; its ids are checked elsewhere.
        where: name of the entry, for messages.
        width: width of its image in pixels.
        height: height of its image in pixels.
        joints: number of keypoints of its category; None to skip keypoints.
    """
    flag = annotation.get("iscrowd", 0)
    crowd = crowd_flag(flag)
    if type(flag) is not int or flag not in (0, 1):
        repair = None if crowd is None else dict(iscrowd=crowd)
        yield Problem("crowd-flag", where, str(flag)[:20], repair)
    mask = annotation.get("segmentation")
    problems = list(_check_mask(mask, crowd, where, width, height))
    if any(p.is_error and p.repair is None for p in problems):
        mask = None  # cannot be looked at
    box = annotation.get("bbox")
    yield from _check_box(box, mask, where, width, height)
    if annotation.get("ignore"):
        yield Problem("ignored", where)
    yield from _check_area(annotation.get("area"), box, mask, where, width, height)
    yield from problems
    if joints is not None and (joints or "keypoints" in annotation):
        yield from _check_keypoints(annotation, where, width, height, joints)


def _check_box(box: Any, mask: Any, where: str, width: int, height: int) -> Iterator[Problem]:
    """Problems of a box; one that is of no use is taken from the mask, where there is one."""
    bounds = box_of(mask, width, height)
    repair = None if bounds is None else dict(bbox=bounds)
    if not is_box(box):
        yield Problem("entry", where, "bbox must be four numbers", repair)
        return
    x, y, w, h = box
    if w <= 0 or h <= 0:
        yield Problem("box-degenerate", where, f"{w} x {h}", repair)
        return
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        yield Problem("box-outside", where, f"{box} of {width} x {height}", repair)
        return
    if min(x, y, width - x - w, height - y - h) < -TOLERANCE:
        left, top = max(x, 0), max(y, 0)
        clipped = [left, top, min(x + w, width) - left, min(y + h, height) - top]
        yield Problem("box-sticks-out", where, str(box), dict(bbox=clipped))
    if w < 1 or h < 1:
        yield Problem("box-tiny", where, f"{w} x {h}")
    found = compare(box, mask, width, height)
    if found is not None:
        reading = f"; it fits as {found.reading}" if found.reading else ""
        mask_box = [round(float(v), 1) for v in bounds or ()]
        detail = f"box {[round(float(v), 1) for v in box]}, mask {mask_box}{reading}"
        yield Problem("box-not-mask", where, detail, found.repair)


def _check_area(
    area: Any, box: Any, mask: Any, where: str, width: int, height: int
) -> Iterator[Problem]:
    if is_number(area) and area > 0:
        return
    size = area_of(mask, width, height)
    if not size and is_box(box):
        size = float(box[2]) * float(box[3])
    repair = dict(area=size) if is_number(size) and size > 0 else None
    yield Problem("area", where, str(area)[:20], repair)


def _check_mask(mask: Any, crowd: Any, where: str, width: int, height: int) -> Iterator[Problem]:
    if mask is None or mask == []:
        yield Problem("mask-missing", where)
    elif isinstance(mask, list):
        if crowd:
            yield Problem("crowd-polygons", where)
        yield from _check_polygons(mask, where, width, height)
    elif isinstance(mask, dict):
        yield from check_rle(mask, where, width, height)
    else:
        yield Problem("entry", where, f"segmentation is a {type(mask).__name__}")


def _check_polygons(polygons: list, where: str, width: int, height: int) -> Iterator[Problem]:
    good, short, outside, crossing = [], 0, False, False
    for polygon in polygons:
        if not is_polygon(polygon):
            yield Problem("entry", where, "a polygon must be a list of numbers, in pixels")
            return
        if len(polygon) < 6 or len(polygon) % 2:
            short += 1
            continue
        good.append(polygon)
        points = np.array(polygon, np.float64).reshape(-1, 2)
        limits = np.array([width, height]) + TOLERANCE
        outside |= bool((points < -TOLERANCE).any() or (points > limits).any())
        crossing |= crosses_itself(points)
    if short:
        repair = dict(segmentation=good) if good else None
        yield Problem("polygon-short", where, f"{short} of {len(polygons)}", repair)
    if outside:
        yield Problem("polygon-outside", where)
    if crossing:
        yield Problem("polygon-crosses-itself", where)


def check_rle(rle: dict, where: str, width: int, height: int) -> Iterator[Problem]:
    """Problems of an RLE, compressed or not, for an image of ``width`` x ``height``."""
    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(map(is_number, size))):
        yield Problem("entry", where, "an RLE needs size [height, width]")
        return
    if [*size] != [height, width]:
        yield Problem("rle-size", where, f"{size}, not {[height, width]}")
        return
    if isinstance(counts, str):
        numbers = decompress(counts)
    elif isinstance(counts, list) and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= LARGEST**2 for n in counts
    ):
        numbers = np.array(counts, np.int64)
    else:
        numbers = None
    if numbers is None:
        yield Problem("rle-counts", where, "not a list of run lengths")
    elif (numbers < 0).any() or int(numbers.sum()) != width * height:
        yield Problem("rle-counts", where, f"they fill {int(numbers.sum())} of {width * height}")


def _check_keypoints(
    annotation: dict, where: str, width: int, height: int, joints: int
) -> Iterator[Problem]:
    values = annotation.get("keypoints")
    if values is None and not annotation.get("num_keypoints"):
        return  # objects without labeled keypoints may lack the field
    if not isinstance(values, list) or not all(map(is_number, values)):
        yield Problem("entry", where, "keypoints must be a list of numbers")
        return
    if len(values) != 3 * joints:
        yield Problem("keypoint-length", where, f"{len(values)} values for {joints} keypoints")
        return
    points = np.array(values, np.float64).reshape(-1, 3)
    seen = points[:, 2]
    if not np.isin(seen, (0, 1, 2)).all():
        yield Problem("keypoint-visibility", where, str(sorted(set(seen))[:5]))
        return
    labeled = points[seen > 0, :2]
    limits = np.array([width, height]) + TOLERANCE
    if (labeled < -TOLERANCE).any() or (labeled > limits).any():
        yield Problem("keypoint-outside", where)
    count = annotation.get("num_keypoints", len(labeled))
    if count != len(labeled):
        repair = dict(num_keypoints=len(labeled))
        yield Problem("keypoint-count", where, f"{str(count)[:20]}, not {len(labeled)}", repair)
