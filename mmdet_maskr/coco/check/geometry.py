"""Polygons and run-length codes, looked at without drawing them."""

from __future__ import annotations

import numpy as np

_CHUNK = 256
_MOST = 10_000  # corners that are compared with one another, in a second


def crosses_itself(points: np.ndarray) -> bool:
    """Whether two edges of a closed polygon cross properly, i.e. in an inner point of both.

    Polygons of very many corners are not looked at, and taken for good ones.

    Args:
        points: (P, 2) corners, in order.
    """
    count = len(points)
    if not 4 <= count <= _MOST:
        return False
    a, b = points, np.roll(points, -1, axis=0)
    low, high = np.minimum(a, b), np.maximum(a, b)
    edge = b - a
    for start in range(0, count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        near = (low[rows, None] <= high[None]).all(-1) & (low[None] <= high[rows, None]).all(-1)
        i, j = np.nonzero(near)
        i += start
        i, j = i[i < j], j[i < j]
        if len(i) == 0:
            continue
        from_i = _cross(edge[i], a[j] - a[i]) * _cross(edge[i], b[j] - a[i])
        from_j = _cross(edge[j], a[i] - a[j]) * _cross(edge[j], b[i] - a[j])
        if ((from_i < 0) & (from_j < 0)).any():
            return True
    return False


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # signs only: products of signs cannot underflow
    return np.sign(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])


def decode_counts(text: str | bytes) -> np.ndarray | None:
    """Run lengths (R,) int64 of COCO's compressed RLE, or None where the text is none.

    Each number is base 32, six bits a character from '0' on, the sixth for "more follows", the
    highest of the last for the sign; from the third number on it is the difference to the one two
    before (pycocotools' rleFrString, which trusts its input).
    """
    if isinstance(text, str):
        try:
            text = text.encode("ascii")
        except UnicodeEncodeError:
            return None
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if len(digits) == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        return None
    last = (digits & 32) == 0
    begin = np.concatenate([[0], np.nonzero(last)[0][:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(begin, np.diff(np.append(begin, len(digits))))
    if place.max() > 6:  # more than 35 bits: no image is so large
        return None
    numbers = np.add.reduceat((digits & 31) << (5 * place), begin)
    ends = np.nonzero(last)[0]
    numbers -= np.where(digits[ends] & 16, 1 << (5 * (place[ends] + 1)), 0)
    for first in (1, 2):  # counts[i] = numbers[i] + counts[i - 2] for i > 2
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers
