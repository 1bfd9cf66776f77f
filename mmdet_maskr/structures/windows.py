"""What crops and borders have left of an image: a convex region that moves as the image does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Window:
    """A convex region.

    Attributes:
        corners: (K, 2) float64 x, y in order; none for a region that is empty.
    """

    corners: np.ndarray

    def project(self, matrix: np.ndarray) -> Window:
        """Moved by ``matrix`` (3, 3), affine."""
        return Window(self.corners @ matrix[:2, :2].T + matrix[:2, 2])

    def cut(self, height: int, width: int) -> Window:
        """What lies in an image of ``height`` x ``width``."""
        corners = self.corners
        for axis, sign, limit in ((0, 1, 0), (1, 1, 0), (0, -1, -width), (1, -1, -height)):
            corners = _half(corners, sign * corners[:, axis] - limit)
        return Window(corners)

    def contains(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Whether all of a box with the corners ``low`` and ``high`` (2,) lies in the region."""
        if len(self.corners) < 3:
            return False
        box = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
        along = np.roll(self.corners, -1, axis=0) - self.corners
        to_box = box[:, None] - self.corners
        side = along[:, 0] * to_box[..., 1] - along[:, 1] * to_box[..., 0]
        return bool((side >= 0).all() or (side <= 0).all())

    def edges(self) -> np.ndarray:
        """(K, 4) x1, y1, x2, y2."""
        return np.concatenate([self.corners, np.roll(self.corners, -1, axis=0)], 1)

    def __deepcopy__(self, memo: dict) -> Window:
        return self


def window_of(height: int, width: int) -> Window:
    """All of an image."""
    return Window(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))


def _half(corners: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The part of a convex polygon (K, 2) where ``inside`` (K,), a linear function, is not < 0."""
    kept = []
    for i in range(len(corners)):
        a, b = inside[i - 1], inside[i]
        if (a < 0) != (b < 0):
            kept.append(corners[i - 1] + (corners[i] - corners[i - 1]) * (a / (a - b)))
        if b >= 0:
            kept.append(corners[i])
    return np.array(kept).reshape(-1, 2)
