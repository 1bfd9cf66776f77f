"""Tests of polygons without drawing them."""

from __future__ import annotations

import numpy as np

_CHUNK = 256
_MOST = 10_000  # corners that are compared with one another, in a second


def crosses_itself(points: np.ndarray) -> bool:
    """Whether two edges of a closed polygon cross in an inner point of both.

    Polygons with very many points are not checked.

    Args:
        points: (P, 2) points, in order.
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
