"""Skeletons: what joins K keypoints and in which colors, and one person's drawn on an image.

Symbols: N instances, K keypoints, H x W image size in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from mmdet_maskr.coco.keypoint_meta import skeleton_indices
from mmdet_maskr.errors import UserError

Color = tuple[int, int, int]

# Orange and blue are told apart by every eye.
LEFT, RIGHT, MIDDLE = (255, 128, 0), (0, 170, 255), (60, 200, 60)
KEYPOINT_THR = 0.05  # as Detectron2 draws; its score is the heat map's peak, 0 to about 1
ABSENT, OCCLUDED, VISIBLE = 0, 1, 2  # COCO's visibilities

_EDGE, _HOLLOW = (25, 25, 25), (255, 255, 255)
_BITS = 4  # cv2 draws in 1/16 pixel
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


class Limb(NamedTuple):
    """A line between two keypoints; each half has a color."""

    start: int
    end: int
    colors: tuple[Color, Color]


class Skeleton(NamedTuple):
    """How K keypoints are drawn: the limbs, and a color for each keypoint."""

    limbs: tuple[Limb, ...]
    colors: tuple[Color, ...]


def make_skeleton(metainfo: Mapping, num_keypoints: int) -> Skeleton:
    """Read a dataset's metainfo.

    Keypoints have the metainfo's ``keypoint_colors``, or one color for left, right and middle as
    ``keypoint_swaps`` says. A limb has the color of its side; one between left and right is
    colored half and half.

    Args:
        metainfo: with ``keypoints``, ``keypoint_swaps``, ``skeleton`` and perhaps
            ``keypoint_colors``; without ``keypoints`` there are no limbs.
        num_keypoints: K of what is to be drawn.

    Raises:
        UserError: the metainfo names another number of keypoints.
    """
    if not metainfo.get("keypoints"):
        return Skeleton((), (MIDDLE,) * num_keypoints)
    names = list(metainfo["keypoints"])
    if len(names) != num_keypoints:
        raise UserError(
            f"{num_keypoints} keypoints must be drawn, but the dataset's metainfo has "
            f"{len(names)}: {', '.join(names)}. Set metainfo=dict(keypoints=(...), ...) "
            "to the keypoints of the model."
        )
    side = dict.fromkeys(names, MIDDLE)
    for left, right in metainfo.get("keypoint_swaps", ()):
        side[left], side[right] = LEFT, RIGHT
    sides = [side[name] for name in names]
    colors = [_color(c) for c in metainfo.get("keypoint_colors") or sides]
    limbs = []
    for a, b in skeleton_indices(metainfo):
        first, second = colors[a], colors[b]
        if sides[a] == MIDDLE:
            first = second
        elif sides[b] == MIDDLE:
            second = first
        limbs.append(Limb(a, b, (first, second)))
    return Skeleton(tuple(limbs), tuple(colors))


def with_visibility(points: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Predicted keypoints as they are drawn: visible from a score on, absent below it.

    Args:
        points: (N, K, 2) x, y.
        scores: (N, K).
        threshold: the least score.

    Returns:
        (N, K, 3) x, y, visibility.
    """
    visibility = np.where(np.asarray(scores) >= threshold, VISIBLE, ABSENT)
    return np.concatenate([np.asarray(points, float), visibility[..., None]], axis=-1)


def draw_skeleton(
    canvas: np.ndarray, keypoints: np.ndarray, skeleton: Skeleton, unit: float
) -> None:
    """Draw one instance's limbs and joints into ``canvas``.

    Visible joints are filled, occluded ones hollow, absent ones left out with their limbs. Lines
    grow with the image, and are thinner on an instance that is small in it.

    Args:
        canvas: (H, W, 3) uint8.
        keypoints: (K, 3) x, y in pixels of ``canvas`` (pixel (0, 0) covers [0, 1) x [0, 1)) and
            visibility: 0 absent, 1 occluded, 2 visible.
        skeleton: of K keypoints.
        unit: pixels of a thin line.
    """
    keypoints = np.asarray(keypoints, float)
    drawn = keypoints[:, 2] > ABSENT
    if not drawn.any():
        return
    extent = np.ptp(keypoints[drawn, :2], axis=0).max()
    width = unit * float(np.clip(extent / (110 * unit), 0.45, 1.4))
    line = max(1, round(2.2 * width))
    edge = max(round(0.8 * width), round(0.6 * unit))  # none on images of few pixels
    points = keypoints[:, :2] - 0.5  # cv2 counts from the middle of a pixel
    limbs = [limb for limb in skeleton.limbs if drawn[limb.start] and drawn[limb.end]]
    for limb in limbs:
        _line(canvas, points[limb.start], points[limb.end], _EDGE, line + 2 * edge)
    for limb in limbs:
        start, end = points[limb.start], points[limb.end]
        middle = (start + end) / 2
        _line(canvas, start, middle, limb.colors[0], line)
        _line(canvas, middle, end, limb.colors[1], line)
    radius = max(1.5, 2.6 * width)
    for point, visibility, color in zip(points, keypoints[:, 2], skeleton.colors, strict=True):
        if visibility == ABSENT:
            continue
        _disc(canvas, point, radius + edge, _EDGE)
        _disc(canvas, point, radius, color)
        if visibility == OCCLUDED:
            _disc(canvas, point, 0.6 * radius, _HOLLOW)


def _color(color: np.ndarray | tuple) -> Color:
    red, green, blue = (int(value) for value in color)
    return red, green, blue


def _fixed(values: np.ndarray) -> list:
    """In cv2's fixed-point numbers."""
    return np.round(values * (1 << _BITS)).astype(int).tolist()


def _line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: Color, width: int) -> None:
    cv2.line(canvas, _fixed(start), _fixed(end), color, width, cv2.LINE_AA, _BITS)


def _disc(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color) -> None:
    """A polygon: cv2.circle gives a diamond where the radius is a few pixels."""
    corners = _fixed(center + radius * _CIRCLE)
    cv2.fillConvexPoly(canvas, np.array(corners, np.int32), color, cv2.LINE_AA, _BITS)
