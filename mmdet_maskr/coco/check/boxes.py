"""Compares the box of an annotation with the bounds of its mask, and tries other readings.

Boxes and bounds are x1, y1, x2, y2 in pixels here, and COCO's x, y, width, height where noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pycocotools.mask

from mmdet_maskr.coco.form import compressed

Corners = tuple[float, float, float, float]

PIXELS = 2.0  # what annotation tools differ by in rounding and in whether a border counts
SHARE = 0.05  # of a side of the mask's bounds: boxes that were drawn by hand near the mask
AS_COCO = "x, y, width, height"
# How else four numbers are meant, for an image of w x h.
READINGS: dict[str, Callable[[Sequence[float], int, int], Corners]] = {
    "x1, y1, x2, y2": lambda b, w, h: (b[0], b[1], b[2], b[3]),
    "center x, center y, width, height": lambda b, w, h: _centered(b, 1, 1),
    "fractions of the image's width and height": lambda b, w, h: _sized(b, w, h),
    "fractions x1, y1, x2, y2": lambda b, w, h: (b[0] * w, b[1] * h, b[2] * w, b[3] * h),
    "fractions center x, center y, width, height": lambda b, w, h: _centered(b, w, h),
    "y, x, height, width": lambda b, w, h: _sized((b[1], b[0], b[3], b[2]), 1, 1),
    "y1, x1, y2, x2": lambda b, w, h: (b[1], b[0], b[3], b[2]),
}


class Mismatch(NamedTuple):
    """A box that does not match the bounds of its mask.

    ``bounds`` are the bounds of the mask. ``reading`` says how the box or the mask would match the
    other, if it is not empty. ``repair`` has the fields that fix the annotation; None if the mask
    has no extent.
    """

    bounds: Corners
    reading: str
    repair: dict[str, Any] | None


def compare(box: Sequence[float], mask: Any, width: int, height: int) -> Mismatch | None:
    """Compare a box with its mask; None if they agree, or if there is no mask.

    Both are clipped to the image first.

    Args:
        box: x, y, width, height.
        mask: polygons of numbers, or a valid RLE of the image's size.
        width: of the image.
        height: of the image.
    """
    raw = bounds_of(mask, width, height)
    if raw is None or _fits(_sized(box, 1, 1), raw, width, height):
        return None
    if isinstance(mask, list):
        fixed = _other_mask(box, mask, raw, width, height)
        if fixed is not None:
            return fixed
    names = [
        name
        for name, read in READINGS.items()
        if _fits(read(box, width, height), raw, width, height)
    ]
    meant = box_of(mask, width, height)
    repair = None if meant is None else dict(bbox=meant)
    return Mismatch(_cut(raw, width, height), names[0] if names else "", repair)


def bounds_of(mask: Any, width: int, height: int) -> Corners | None:
    """Bounds of a mask, not clipped to the image; None if there is no mask.

    Args:
        mask: polygons of numbers (those with fewer than three points are ignored, as in loading),
            or an RLE of the image's size.
        width: of the image.
        height: of the image.
    """
    if isinstance(mask, dict):
        x, y, w, h = pycocotools.mask.toBbox(compressed(mask, height, width)).tolist()
        return None if w * h == 0 else (x, y, x + w, y + h)
    whole = _whole(mask)
    if not whole:
        return None
    xs, ys = [p[::2] for p in whole], [p[1::2] for p in whole]
    return min(map(min, xs)), min(map(min, ys)), max(map(max, xs)), max(map(max, ys))


def box_of(mask: Any, width: int, height: int) -> list[float] | None:
    """COCO's box around a mask, clipped to the image; None if it has no area.

    Args are those of :func:`bounds_of`.
    """
    raw = bounds_of(mask, width, height)
    if raw is None:
        return None
    x1, y1, x2, y2 = _cut(raw, width, height)
    return [*map(_round, (x1, y1, x2 - x1, y2 - y1))] if x2 > x1 and y2 > y1 else None


def area_of(mask: Any, width: int, height: int) -> float:
    """Area of a mask in pixels; 0 if there is no mask.

    Args are those of :func:`bounds_of`.
    """
    if isinstance(mask, dict):
        return float(pycocotools.mask.area(compressed(mask, height, width)))
    near = [p for p in _whole(mask) if max(map(abs, p)) <= 4 * max(width, height)]
    if not near:  # of the others the edges alone would take long to draw
        return 0.0
    drawn = pycocotools.mask.frPyObjects([list(map(float, p)) for p in near], height, width)
    return float(pycocotools.mask.area(pycocotools.mask.merge(drawn)))


def scaled_polygons(polygons: list, width: float, height: float) -> list:
    """Scale the x and y of polygons."""
    factors = (width, height)
    return [[_round(v * factors[i % 2]) for i, v in enumerate(p)] for p in polygons]


def _other_mask(
    box: Sequence[float], mask: list, raw: Corners, width: int, height: int
) -> Mismatch | None:
    """Polygons that fit the box, read in another way; the box is right then."""
    corners = _sized(box, 1, 1)
    bounds = _cut(raw, width, height)
    if max(raw) <= 1 and _fits(corners, _times(raw, width, height), width, height):
        reading = "polygons in fractions of the image's width and height"
        return Mismatch(bounds, reading, dict(segmentation=scaled_polygons(mask, width, height)))
    swapped = (raw[1], raw[0], raw[3], raw[2])
    outside = raw[2] > width + PIXELS or raw[3] > height + PIXELS
    if outside and _fits(corners, swapped, width, height):
        turned = [[v for i in range(0, len(p) - 1, 2) for v in (p[i + 1], p[i])] for p in mask]
        return Mismatch(bounds, "polygons y, x", dict(segmentation=turned))
    return None


def _fits(box: Corners, bounds: Corners, width: int, height: int) -> bool:
    box, bounds = _cut(box, width, height), _cut(bounds, width, height)
    for low, high in ((0, 2), (1, 3)):
        tolerance = max(PIXELS, SHARE * (bounds[high] - bounds[low]))
        if abs(box[low] - bounds[low]) > tolerance or abs(box[high] - bounds[high]) > tolerance:
            return False
    return True


def _cut(corners: Corners, width: int, height: int) -> Corners:
    x1, y1, x2, y2 = corners
    return (
        min(max(x1, 0), width),
        min(max(y1, 0), height),
        min(max(x2, 0), width),
        min(max(y2, 0), height),
    )


def _times(corners: Sequence[float], width: float, height: float) -> Corners:
    return corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height


def _sized(box: Sequence[float], width: float, height: float) -> Corners:
    x, y, w, h = box
    return _times((x, y, x + w, y + h), width, height)


def _centered(box: Sequence[float], width: float, height: float) -> Corners:
    x, y, w, h = box
    return _times((x - w / 2, y - h / 2, x + w / 2, y + h / 2), width, height)


def _whole(polygons: list | None) -> list:
    """Polygons of three points and more."""
    return [p for p in polygons or () if len(p) >= 6 and len(p) % 2 == 0]


def _round(value: float) -> float:
    return round(value, 3)
