"""Masks as polygons that an annotator can edit, and that draw the same pixels.

Symbols: H x W the photo, in pixels; (0, 0) is the corner of its first pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco

SAME = 0.992  # IoU of a mask and its polygons
ROUNDED = 0.01  # pixels, by which files move coordinates: a line through pixels' centers flips them
# Pixels that an outline may leave its mask by, tried in turn: fewer points are easier to move.
TOLERANCES = (1.5, 1.0, 0.75, 0.5, 0.3, 0.0)
MANY = 64  # rings, whose nearest points are not looked for


class Part(NamedTuple):
    """A part of a mask: its outline and those of its holes, each a flat list x, y, x, y, ..."""

    outline: list[float]
    holes: list[list[float]]


def parts_of(rle: dict) -> list[Part]:
    """Parts of a mask, with as few points as an IoU of :data:`SAME` allows.

    Args:
        rle: COCO's, of size H x W, compressed.

    Returns:
        The parts; none of an empty mask.
    """
    x, y, width, height = (int(value) for value in coco.toBbox(rle))
    if not width or not height:
        return []
    crop = np.ascontiguousarray(coco.decode(rle)[y : y + height, x : x + width])
    # Of each pixel four, so that an outline through their centers tells one edge from the other.
    fine = cv2.copyMakeBorder(np.kron(crop, np.ones((2, 2), np.uint8)), 1, 1, 1, 1, 0)
    rings, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # 1 is the border's; 2k + 1 and 2k + 2 are the halves of pixel k, whose edges are k and k + 1
    edges = [(ring[:, 0] // 2 + (x, y)).astype(np.float32) for ring in rings]
    parents = tree[0][:, 3]
    for tolerance in TOLERANCES:
        found = {i: Part(_simple(edges[i], tolerance), []) for i in np.flatnonzero(parents < 0)}
        for i in np.flatnonzero(parents >= 0):
            found[parents[i]].holes.append(_simple(edges[i], tolerance))
        parts = [part for part in found.values() if len(part.outline) >= 6]
        if not tolerance or _overlap(parts, rle) >= SAME:
            break
    return parts


def joined(parts: list[Part]) -> list[float]:
    """One outline of all parts and holes, led from one to the next and back on the same line.

    The lines have no area, so that a rule of even and odd crossings, as COCO's is, draws the mask.
    """
    rings = [np.reshape(ring, (-1, 2)) for part in parts for ring in (part.outline, *part.holes)]
    path, *rest = rings
    for ring in rest:
        at, start = len(path) - 1, 0
        if len(rings) <= MANY:
            gaps = ((path[:, None] - ring[None]) ** 2).sum(2)
            at, start = (int(i) for i in np.unravel_index(np.argmin(gaps), gaps.shape))
        around = np.concatenate([ring[start:], ring[: start + 1]])
        path = np.concatenate([path[: at + 1], around, path[at:]])
    return [float(value) for value in path.ravel()]


def _simple(ring: np.ndarray, tolerance: float) -> list[float]:
    """A ring of pixels' corners without the points that it passes within a tolerance.

    With a tolerance it leads through the middles of pixels' edges: of the stairs of a slope, these
    lie on the slope.
    """
    if tolerance:
        following = np.roll(ring, -1, axis=0)
        moved = (ring != following).any(1)
        ring = (ring[moved] + following[moved]) / 2
    return [float(value) for value in cv2.approxPolyDP(ring[:, None], tolerance, True).ravel()]


def _overlap(parts: list[Part], rle: dict) -> float:
    """IoU of what COCO's rule draws of the parts and the mask; the lower one of both roundings."""
    if not parts:
        return 0.0
    outline = np.array(joined(parts))
    moved = [(outline + shift).tolist() for shift in (-ROUNDED, ROUNDED)]
    drawn = [coco.merge(coco.frPyObjects([ring], *rle["size"])) for ring in moved]
    return float(coco.iou(drawn, [rle], [0]).min())
