"""How an image of shapes looks: textured background, textured objects with soft edges.

Symbols: S image side, V vertices of a polygon.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from mmdet_maskr.datasets.shapes.scene import Shape, between, rasterise

_SUPER = 4  # samples per pixel and axis for soft edges


def _smooth(
    rng: np.random.Generator, height: int, width: int, cells: int, depth: int = 3
) -> np.ndarray:
    """Smooth random field (height, width, depth) in [-1, 1] with about ``cells`` bumps a side."""
    grid = rng.random((cells + 1, cells + 1, depth)) * 2 - 1
    for length in (height, width):  # interpolate the first axis, then swap the two
        t = np.arange(length) * (cells / length)
        k = t.astype(int)
        f = (t - k)[:, None, None]
        f = f * f * (3 - 2 * f)
        grid = (grid[k] * (1 - f) + grid[k + 1] * f).swapaxes(0, 1)
    return grid


def _ramp(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width) signed distance in pixels along a random direction, 0 in the middle."""
    angle = between(rng, 0, 2 * math.pi)
    c, s = round(math.cos(angle), 4), round(math.sin(angle), 4)
    return c * (np.arange(width) - width / 2) + s * (np.arange(height) - height / 2)[:, None]


def _stripes(rng: np.random.Generator, height: int, width: int, period: float) -> np.ndarray:
    """(height, width) triangle wave in [-1, 1] along a random direction."""
    t = _ramp(rng, height, width) / period + rng.random()
    return np.abs(t - np.floor(t) - 0.5) * 4 - 1


def _noise(rng: np.random.Generator, shape: tuple[int, ...], amplitude: int) -> np.ndarray:
    draw = rng.integers(-amplitude, amplitude + 1, (2, *shape))
    return draw[0] + draw[1]


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(S, S, 3) float: smooth colors, blobs or stripes, grain."""
    image = 40 + 175 * rng.random(3) + between(rng, 15, 45) * _smooth(rng, size, size, 3)
    image = image + between(rng, 6, 16) * _smooth(rng, size, size, int(rng.integers(8, 16)))
    weight = rng.random(3) * 14 - 7
    image = image + weight * _stripes(rng, size, size, size * between(rng, 0.04, 0.2))[..., None]
    return image + _noise(rng, (size, size, 1), 4)


def _texture(rng: np.random.Generator, height: int, width: int, size: int) -> np.ndarray:
    """(height, width, 1) brightness offsets of one object: gradient, stripes or speckle."""
    kind = int(rng.integers(3))
    if kind == 0:
        return (_ramp(rng, height, width) * (36 / max(height, width)))[..., None]
    if kind == 1:
        return 14 * _stripes(rng, height, width, size * between(rng, 0.03, 0.07))[..., None]
    return 24 * _smooth(rng, height, width, max(2, round(max(height, width) * 40 / size)), 1)


def _color(rng: np.random.Generator, rivals: list[np.ndarray]) -> np.ndarray:
    """A random BGR color that stands out from every rival; the best of 60 if none does."""
    best, best_score = np.zeros(3), -1.0
    for _ in range(60):
        color = 20 + 215 * rng.random(3)
        score = 9.0
        for rival in rivals:
            b, g, r = (color - rival).tolist()
            luma = abs(0.114 * b + 0.587 * g + 0.299 * r)
            score = min(score, max(luma / 42, (abs(b) + abs(g) + abs(r)) / 165))
        if score > best_score:
            best, best_score = color, score
        if score >= 1:
            break
    return best


def _rivals(canvas: np.ndarray, painted: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Mean colors (3,) around a mask: for each quadrant, of each thing painted there."""
    size = len(mask)
    width = 2 * max(2, size // 50) + 1
    band = cv2.dilate(mask.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    band &= ~mask
    ys, xs = np.nonzero(band)
    keys = painted[ys, xs].astype(int) * 4 + (ys > ys.mean()) * 2 + (xs > xs.mean())
    values = canvas[ys, xs].astype(np.int64)  # integers: a sum that no machine reorders
    return [values[keys == k].sum(0) / n for k, n in enumerate(np.bincount(keys)) if n >= 12]


def _window(points: np.ndarray, size: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the pixels around some points (V, 2), with two to spare for the rim."""
    x0, y0 = np.maximum(np.floor(points.min(0)).astype(int) - 2, 0).tolist()
    x1, y1 = np.minimum(np.ceil(points.max(0)).astype(int) + 2, size).tolist()
    return x0, y0, x1, y1


def _disc_kernel(radius: int) -> np.ndarray:
    """(2 radius + 1, 2 radius + 1) uint8, ones within ``radius`` of the middle."""
    squares = np.arange(-radius, radius + 1) ** 2
    return (squares + squares[:, None] <= radius**2 + radius // 2).astype(np.uint8)


def _paint(
    canvas: np.ndarray,
    part: np.ndarray,
    holes: list[np.ndarray],
    color: np.ndarray,
    texture: np.ndarray,
    shade: np.ndarray,
) -> None:
    """Blend one part into ``canvas`` (S, S, 3), soft-edged, with a darker rim.

    ``color`` (3,) BGR is moved by ``texture`` and multiplied by ``shade``, both (S, S, 1).
    """
    size = len(canvas)
    x0, y0, x1, y1 = _window(part, size)
    h, w = y1 - y0, x1 - x0
    fine = rasterise(
        [(part - (x0, y0)) * _SUPER],
        [(p - (x0, y0)) * _SUPER for p in holes],
        h * _SUPER,
        w * _SUPER,
    ).astype(np.uint8)
    inner = cv2.erode(fine, _disc_kernel(max(2, round(_SUPER * size / 200))))

    def shrink(samples: np.ndarray) -> np.ndarray:
        rows = samples.reshape(h, _SUPER, w * _SUPER).sum(1, dtype=np.uint8)
        return (rows.reshape(h, w, _SUPER).sum(2, dtype=np.uint8) / _SUPER**2)[..., None]

    at = slice(y0, y1), slice(x0, x1)
    fill = (color + texture[at]) * shade[at] * (0.72 + 0.28 * shrink(inner))
    canvas[at] += shrink(fine) * (fill - canvas[at])


def render(rng: np.random.Generator, shapes: list[Shape], labels: np.ndarray) -> np.ndarray:
    """Paint a scene back to front: (S, S, 3) uint8 BGR."""
    size = len(labels)
    canvas = _background(rng, size)
    painted = np.zeros((size, size), np.int16)
    light = 0.5 / size * _ramp(rng, size, size)[..., None]
    for label, shape in enumerate(shapes, 1):
        mask = rasterise(shape.parts, shape.holes, size, size)
        rivals = _rivals(canvas, painted, mask)
        x0, y0, x1, y1 = _window(np.concatenate(shape.parts), size)
        texture = np.zeros((size, size, 1))
        texture[y0:y1, x0:x1] = _texture(rng, y1 - y0, x1 - x0, size)
        shade = 1 + light - light[(y0 + y1) // 2, (x0 + x1) // 2]
        color = _color(rng, rivals)
        for k, part in enumerate(shape.parts):
            gain = (0.94, 1.06)[k % 2] if shape.joints is not None else 1.0
            _paint(canvas, part, shape.holes, color * gain, texture, shade)
            if shape.crowd:  # every item has its own color
                color = _color(rng, rivals)
        painted[mask] = label
    canvas += _noise(rng, (size, size, 3), 1 + int(rng.integers(4)))
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
