"""Masks as the part of an image that they can reach, with NumPy alone.

Symbols: N masks, m x m their size, H x W the image, h x w a crop of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdet_maskr.run_lengths import changes


@dataclass(frozen=True, slots=True)
class Crop:
    """A mask where its box is: (h, w) bool, whose first pixel is (x0, y0) of the image."""

    inside: np.ndarray
    x0: int
    y0: int

    def paste(self, image: np.ndarray) -> None:
        """Write the crop into an image (H, W)."""
        height, width = self.inside.shape
        image[self.y0 : self.y0 + height, self.x0 : self.x0 + width] = self.inside

    def changes(self, height: int) -> np.ndarray:
        """The mask's :func:`.run_lengths.changes` in an image of ``height``."""
        return changes(self.inside.T, self.x0, self.y0, height)


def regions_of(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, 4) integers x0, y0, x1, y1: what mmdet pastes of a mask, empty outside of the image."""
    limits = np.array([width, height], np.float32)
    low = np.maximum(np.floor(boxes[:, :2]) - 1, 0)
    high = np.minimum(np.ceil(boxes[:, 2:]) + 1, limits)
    return np.concatenate([np.minimum(low, limits), np.maximum(high, 0)], 1).astype(np.int64)


def box_axis(start: int, stop: int, low: np.float32, high: np.float32) -> np.ndarray:
    """Pixel centers of a crop in a box's coordinates -1 to 1: mmdet's operations, in float32.

    On a line, high = low, mmdet divides by zero and takes the middle of the mask for infinity.
    """
    centers = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        grid = (centers - low) / (high - low) * np.float32(2) - np.float32(1)
    if not high > low:
        grid[np.isinf(grid)] = 0
    return grid


def axis_weights(grid: np.ndarray, size: int) -> np.ndarray:
    """Bilinear weights of a mask's pixels along an axis, zero beyond the mask.

    Args:
        grid: (W,) coordinates of the image's pixels, from :func:`box_axis`.
        size: m.

    Returns:
        (W, m).
    """
    position = (grid + np.float32(1)) * np.float32(size / 2) - np.float32(0.5)
    weights = position[:, None] - np.arange(size, dtype=np.float32)
    np.abs(weights, out=weights)
    np.subtract(np.float32(1), weights, out=weights)
    np.fmax(weights, 0, out=weights)  # of what is no number, 0 / 0 on a line, too
    return weights
