"""Checks of single values in a COCO file: numbers, ids, boxes, polygons. Input: any JSON value."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

LARGEST = 1 << 20  # sides of an image


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number of reasonable size (a bool is not)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e15  # also refuses NaN


def is_id(value: Any) -> bool:
    """Whether it can be an id: a 64-bit integer or a string."""
    if isinstance(value, str):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def is_box(box: Any) -> TypeGuard[list]:
    """Whether it is a list of four finite numbers."""
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def is_polygon(values: Any) -> bool:
    """Whether it is a list of numbers that pycocotools can draw.

    pycocotools walks along each edge: infinite coordinates, or coordinates larger than any image,
    use up all memory or crash the process.
    """
    if not isinstance(values, list):
        return False
    try:  # sums and bounds, as there are millions of numbers
        return not values or (
            math.isfinite(sum(values)) and min(values) >= -LARGEST and max(values) <= LARGEST
        )
    except (TypeError, OverflowError):
        return False


def number_of(value: Any) -> float | None:
    """A number, also from a string; None for anything else."""
    if isinstance(value, str):
        if len(value) > 40:
            return None
        try:
            value = int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
        except ValueError:
            return None
    return value if is_number(value) else None


def whole_of(value: Any) -> int | None:
    """An integer, also from 3.0, '3' and '3.0'; None for anything else."""
    number = number_of(value)
    return int(number) if number is not None and number == int(number) else None


def crowd_flag(value: Any) -> int | None:
    """``iscrowd`` as 0 or 1; None if it means neither."""
    if value is None:
        return 0
    if isinstance(value, str):
        words = {"false": 0, "no": 0, "": 0, "true": 1, "yes": 1}
        value = words.get(value.strip().lower(), number_of(value))
    return int(bool(value)) if isinstance(value, (bool, int, float)) else None
