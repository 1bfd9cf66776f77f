"""Outlines that annotation tools draw, as polygons; and images that they embed, as masks."""

from __future__ import annotations

import base64
import binascii
import math
import zlib

import cv2
import numpy as np
from pycocotools import mask as coco

from mmdet_maskr.coco.check.values import is_polygon
from mmdet_maskr.errors import UserError

CORNERS = 64  # of a circle: its area is 0.2 % below the true one
MOST_BYTES = 1 << 28  # of an image that is embedded and packed


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0) -> list[float]:
    """Corners of a rectangle, turned clockwise about (x, y), its first corner: 8 numbers."""
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    return [v for dx, dy in corners for v in (x + dx * cos - dy * sin, y + dx * sin + dy * cos)]


def ellipse(x: float, y: float, rx: float, ry: float, radians: float = 0) -> list[float]:
    """Points on an ellipse about (x, y), turned clockwise: 2 * CORNERS numbers."""
    angles = np.linspace(0, 2 * math.pi, CORNERS, endpoint=False)
    dx, dy = rx * np.cos(angles), ry * np.sin(angles)
    cos, sin = math.cos(radians), math.sin(radians)
    points = np.stack([x + dx * cos - dy * sin, y + dx * sin + dy * cos], 1)
    return [float(v) for v in points.ravel()]


def with_holes(
    outer: list[list[float]], holes: list[list[list[float]]], width: int, height: int
) -> np.ndarray:
    """Pixels (height, width) bool of a polygon without those of its holes.

    Args:
        outer: points (x, y).
        holes: points of each.
        width: of the photo.
        height: of the photo.

    Raises:
        ValueError: a point that is no number of sensible size.
    """
    flat = [[float(v) for point in points for v in point] for points in [outer, *holes]]
    if not all(map(is_polygon, flat)) or len(outer) < 3:
        raise ValueError("a polygon must be a list of three or more points")
    drawn = [
        coco.decode(coco.frPyObjects([points], height, width))[..., 0].astype(bool)
        for points in flat
        if len(points) >= 6
    ]
    return drawn[0] & ~np.logical_or.reduce(drawn[1:]) if len(drawn) > 1 else drawn[0]


def embedded_mask(text: str, named: str, packed: bool = False) -> np.ndarray:
    """Pixels (h, w) bool of a PNG in base64: what is not black, or not transparent.

    Args:
        text: base64, with or without ``data:image/png;base64,``.
        named: where it is from, for messages.
        packed: whether zlib packs the PNG (Supervisely).

    Raises:
        UserError: it is none.
    """
    try:
        content = base64.b64decode(text.partition("base64,")[2] or text, validate=False)
        if packed:
            reader = zlib.decompressobj()
            content = reader.decompress(content, MOST_BYTES)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except (binascii.Error, ValueError, zlib.error, cv2.error) as error:
        raise UserError(f"{named}: the embedded mask cannot be read: {error}.") from error
    if image is None:
        raise UserError(f"{named}: the embedded mask is not an image.")
    if image.ndim == 2:
        return image > 0
    channel = image[..., 3] if image.shape[2] == 4 else image.max(2)
    return channel > 0


def row_runs(counts: list[int], width: int, height: int, named: str) -> np.ndarray:
    """Pixels (height, width) bool of run lengths along the rows, outside first.

    Raises:
        UserError: they do not fill the box.
    """
    if min(counts, default=0) < 0 or not 0 <= width * height - sum(counts) <= 0:
        raise UserError(f"{named}: run lengths fill {sum(counts)} of {width} x {height} pixels.")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(height, width)
