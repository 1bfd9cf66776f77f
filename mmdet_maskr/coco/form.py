"""COCO's form of boxes, keypoints and masks, and ours: the only place that knows both.

Ours, everywhere in this package: boxes x1, y1, x2, y2; keypoints x, y in continuous pixels of the
image, as boxes are. COCO's files: boxes x, y, width, height; keypoints in pixel indices, which are
0.5 less (as in Detectron2); masks as polygons or run-length codes.

Symbols: N instances, K keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

_TO_PIXELS = np.array([0.5, 0.5, 0.0])


def to_corners(boxes: ArrayLike) -> np.ndarray:
    """Boxes of a file, (N, 4) or flat, as (N, 4) float64 x1, y1, x2, y2."""
    found = np.array(boxes, np.float64).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found


def to_sides(corners: ArrayLike) -> np.ndarray:
    """Boxes (N, 4) x1, y1, x2, y2 as a file has them, float64."""
    found = np.array(corners, np.float64).reshape(-1, 4)
    found[:, 2:] -= found[:, :2]
    return found


def to_pixels(keypoints: ArrayLike) -> np.ndarray:
    """Keypoints of a file, (..., 3) with a visibility or score, as float64 in continuous pixels."""
    return np.asarray(keypoints, np.float64) + _TO_PIXELS


def to_indices(keypoints: ArrayLike) -> np.ndarray:
    """Keypoints (..., 3) in continuous pixels as a file has them, float64."""
    return np.asarray(keypoints, np.float64) - _TO_PIXELS


def annotated_keypoints(keypoints: ArrayLike) -> np.ndarray:
    """Keypoints of annotations (..., K, 3) x, y, visibility, in continuous pixels.

    All zeros where the visibility is 0, as what is not labeled has no place.
    """
    given = np.asarray(keypoints)
    return np.where(given[..., 2:] == 0, 0, to_pixels(given))


def boxes_of(annotations: Sequence[Mapping]) -> np.ndarray:
    """(N, 4) x1, y1, x2, y2 of annotations or results."""
    return to_corners([annotation["bbox"] for annotation in annotations])


def as_text(rle: Mapping) -> dict:
    """A run-length code as JSON can hold it."""
    counts = rle["counts"]
    return dict(rle, counts=counts.decode() if isinstance(counts, bytes) else counts)


def compressed(rle: Mapping, height: int, width: int) -> dict:
    """A run-length code as pycocotools takes it, also of one whose counts are a list."""
    import pycocotools.mask  # not everything here needs it

    if isinstance(rle["counts"], list):
        return pycocotools.mask.frPyObjects(dict(rle), height, width)
    return dict(rle)
