"""What is in an image of shapes: geometry, composition, annotations.

Coordinates: polygons and boxes are continuous, pixel (0, 0) covers [0, 1] x [0, 1]; keypoints are
pixel indices as in COCO, i.e. the continuous coordinate minus 0.5.

Symbols: S image side, P parts of an object, V vertices of a polygon, K keypoints.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from pycocotools import mask as mask_utils

from mmdet_maskr.datasets.shapes.meta import CLASSES

_FIGURE = CLASSES.index("figure")
_EXTENT = {
    "disc": (0.12, 0.45),
    "box": (0.12, 0.45),
    "triangle": (0.14, 0.45),
    "ring": (0.15, 0.45),
    "bar": (0.22, 0.45),
    "figure": (0.35, 0.70),
}  # longer bbox side (figure: height) / S
_MIN_VISIBLE, _MIN_PIXELS = 0.45, 30 / 160**2  # of its in-image mask; of the image


@dataclass
class Shape:
    """One drawn object (or one crowd): the union of convex ``parts`` minus ``holes``.

    Attributes:
        category: index into CLASSES.
        parts: convex polygons, each (V, 2) float, continuous image coordinates, back to front.
        holes: convex polygons (V, 2) cut out of the union.
        joints: (K, 2) float keypoints in continuous coordinates; None unless a figure.
        crowd: True when ``parts`` are many small objects annotated as one crowd region.
    """

    category: int
    parts: list[np.ndarray]
    holes: list[np.ndarray] = field(default_factory=list)
    joints: np.ndarray | None = None
    crowd: bool = False

    def mapped(self, matrix: np.ndarray, offset: np.ndarray) -> Shape:
        """The shape under ``p -> matrix p + offset``, with matrix (2, 2) and offset (2,)."""

        def move(p: np.ndarray) -> np.ndarray:
            x, y = p[:, 0], p[:, 1]
            return np.stack(
                [
                    matrix[0, 0] * x + matrix[0, 1] * y + offset[0],
                    matrix[1, 0] * x + matrix[1, 1] * y + offset[1],
                ],
                1,
            )

        return Shape(
            self.category,
            [move(p) for p in self.parts],
            [move(p) for p in self.holes],
            None if self.joints is None else move(self.joints),
            self.crowd,
        )

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Top left and bottom right corner, each (2,)."""
        points = np.concatenate(self.parts)
        return points.min(0), points.max(0)


# ---------------------------------------------------------------- geometry, unit scale, y downwards
def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A random number from ``low`` to ``high``, uniform."""
    return low + (high - low) * rng.random()


def _turn(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def _ellipse(a: float, b: float, vertices: int = 64) -> np.ndarray:
    angles = [2 * math.pi * k / vertices for k in range(vertices)]
    return np.array([[a * math.cos(t), b * math.sin(t)] for t in angles])


def _rectangle(a: float, b: float) -> np.ndarray:
    return np.array([[-a, -b], [a, -b], [a, b], [-a, b]], float)


def _hull(*discs: tuple[tuple[float, float], float]) -> np.ndarray:
    """Convex hull of discs given as (center, radius): limbs and torso, (V, 2)."""
    points = np.concatenate([_ellipse(r, r, 24) + np.array(c) for c, r in discs])
    points = sorted({(round(x, 6), round(y, 6)) for x, y in points.tolist()})
    hull: list[tuple[float, float]] = []
    for run in (points, points[::-1]):  # one side, then the other
        base = len(hull)
        for p in run:
            while len(hull) - base > 1 and (
                (hull[-1][0] - hull[-2][0]) * (p[1] - hull[-2][1])
                <= (hull[-1][1] - hull[-2][1]) * (p[0] - hull[-2][0])
            ):
                hull.pop()
            hull.append(p)
        hull.pop()  # it starts the other side
    return np.array(hull)


def _figure(rng: np.random.Generator) -> Shape:
    """A figure about 1 high facing the viewer, its own left at +x, with random joint angles."""
    head, shoulder, hip = (0.0, -0.335), (0.105, -0.2), (0.06, 0.1)

    def step(start: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
        return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)

    def limb(
        root: tuple[float, float],
        upper: tuple[int, int],
        bend: tuple[int, int],
        lengths: tuple[float, float],
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        while True:  # the end must stay on its own side of the body and off the head
            first = math.radians(between(rng, *upper))
            middle = step(root, first, lengths[0])
            end = step(middle, first + math.radians(between(rng, *bend)), lengths[1])
            if end[0] > 0.055 and math.hypot(end[0] - head[0], end[1] - head[1]) > 0.16:
                return middle, end

    # arms and legs of both sides, from random angles
    legs, arms, joints = [], [], [head]
    ends: dict[str, list] = {"elbow": [], "hand": [], "knee": [], "foot": []}
    for side in (1, -1):

        def flip(p: tuple[float, float], side: int = side) -> tuple[float, float]:
            return side * p[0], p[1]

        elbow, hand = map(flip, limb(shoulder, (12, 150), (-80, 110), (0.175, 0.165)))
        knee, foot = map(flip, limb(hip, (3, 48), (-55, 20), (0.19, 0.19)))
        root, base = flip(shoulder), flip(hip)
        legs += [
            _hull((base, 0.052), (knee, 0.042)),
            _hull((knee, 0.042), (foot, 0.034)),
            _hull((foot, 0.05)),
        ]
        arms += [
            _hull((root, 0.042), (elbow, 0.036)),
            _hull((elbow, 0.036), (hand, 0.03)),
            _hull((hand, 0.046)),
        ]
        for name, point in zip(ends, (elbow, hand, knee, foot), strict=True):
            ends[name].append(point)
    torso = _hull(
        (shoulder, 0.045),
        ((-shoulder[0], shoulder[1]), 0.045),
        (hip, 0.055),
        ((-hip[0], hip[1]), 0.055),
        ((0.0, -0.25), 0.03),
    )
    for pair in ends.values():
        joints += pair
    return Shape(_FIGURE, [*legs, torso, *arms, _hull((head, 0.092))], joints=np.array(joints))


def _random_shape(rng: np.random.Generator, category: int, size: int, shrink: float) -> Shape:
    """A shape of this category near the origin, turned and in pixels of an S = ``size`` image."""
    name = CLASSES[category]
    angle = between(rng, 0, 2 * math.pi)
    if name == "disc":
        shape = Shape(category, [_ellipse(1, between(rng, 0.75, 1))])
    elif name == "box":
        shape = Shape(category, [_rectangle(between(rng, 1, 1.8), 1)])
    elif name == "triangle":  # arcs of at least 76 degrees: no angle below 38
        cuts = sorted((rng.random(), rng.random()))
        arcs = [76 + (360 - 3 * 76) * a for a in (cuts[0], cuts[1] - cuts[0])]
        corners = [0.0, arcs[0], arcs[0] + arcs[1]]
        shape = Shape(
            category,
            [np.array([[math.cos(math.radians(t)), math.sin(math.radians(t))] for t in corners])],
        )
    elif name == "ring":
        hole = between(rng, 0.45, 0.65)
        shape = Shape(category, [_ellipse(1, 1)], [_ellipse(hole, hole)])
    elif name == "bar":
        shape = Shape(category, [_rectangle(between(rng, 4, 8), 1)])
    else:
        shape, angle = _figure(rng), math.radians(between(rng, -25, 25))
    low, high = _EXTENT[name]
    shape = shape.mapped(_turn(angle), np.zeros(2))
    top_left, bottom_right = shape.bounds()
    width, height = bottom_right - top_left
    extent = size * low * (high * shrink / low if high * shrink > low else 1) ** rng.random()
    scale = extent / (height if category == _FIGURE else max(width, height))
    return shape.mapped(np.eye(2) * scale, -scale * (top_left + bottom_right) / 2)


def _place(rng: np.random.Generator, shape: Shape, size: int) -> Shape:
    """Move a centered shape into the image; one in four may leave it by up to 25 % on one axis."""
    half = shape.bounds()[1]
    slack = [0.0, 0.0]
    if rng.random() < 0.25:
        slack[int(rng.integers(2))] = 0.25
    offset = [
        between(rng, h * (1 - 2 * s), size - h * (1 - 2 * s))
        if h * (1 - 2 * s) * 2 < size
        else size / 2
        for h, s in zip(half, slack, strict=True)
    ]
    return shape.mapped(np.eye(2), np.array(offset))


def _crowd(rng: np.random.Generator, size: int) -> Shape:
    """8 to 16 small discs or boxes close together, as one crowd."""
    category = int(rng.integers(2))
    pitch, columns = size * between(rng, 0.06, 0.075), int(rng.integers(3, 5))
    parts = []
    for k in range(int(rng.integers(8, 4 * columns + 1))):
        item = _random_shape(rng, category, size, 0)
        half = item.bounds()[1]
        cell = np.array([k % columns + 0.5 * (k // columns % 2), k // columns], float)
        jitter = np.array([between(rng, -0.12, 0.12), between(rng, -0.12, 0.12)])
        scale = pitch * between(rng, 0.42, 0.54) / max(half)
        parts += item.mapped(np.eye(2) * scale, (cell + jitter) * pitch).parts
    shape = Shape(category, parts, crowd=True)
    low, high = shape.bounds()
    corner = np.array([between(rng, 0, size - extent) for extent in high - low])
    return shape.mapped(np.eye(2), corner - low)


def clip_polygon(polygon: np.ndarray, size: int) -> np.ndarray:
    """Clip a convex polygon (V, 2) to [0, S]^2 and round it to 0.01 pixel.

    Returns (V', 2), with V' = 0 where nothing worth a pixel's quarter is left.
    """
    points = [tuple(p) for p in polygon.tolist()]
    for axis, limit, sign in ((0, 0, 1), (0, size, -1), (1, 0, 1), (1, size, -1)):
        if all(sign * (p[axis] - limit) >= 0 for p in points):
            continue
        kept = []
        for p, q in zip(points, points[1:] + points[:1], strict=True):
            a, b = sign * (p[axis] - limit), sign * (q[axis] - limit)
            if a >= 0:
                kept.append(p)
            if (a < 0) != (b < 0):
                t = a / (a - b)
                kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
        points = kept
    clipped = np.round(np.array(points, float).reshape(-1, 2), 2) + 0.0  # no negative zeros
    x, y = clipped[:, 0], clipped[:, 1]
    area = abs(math.fsum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    return clipped if len(clipped) > 2 and area >= 0.25 else clipped[:0]


def _clipped(shape: Shape, size: int) -> Shape:
    def clip(polygons: list[np.ndarray]) -> list[np.ndarray]:
        return [c for c in (clip_polygon(p, size) for p in polygons) if len(c)]

    return Shape(shape.category, clip(shape.parts), clip(shape.holes), shape.joints, shape.crowd)


def rasterise(
    parts: list[np.ndarray], holes: list[np.ndarray], height: int, width: int
) -> np.ndarray:
    """(height, width) bool mask of the union of ``parts`` minus ``holes``, by pycocotools.

    Both are polygons, each (V, 2) x, y in continuous pixels.
    """

    def union(polygons: list[np.ndarray]) -> np.ndarray:
        rles = mask_utils.frPyObjects([p.ravel().tolist() for p in polygons], height, width)
        return mask_utils.decode(mask_utils.merge(rles)).astype(bool)

    mask = union(parts) if parts else np.zeros((height, width), bool)
    return mask & ~union(holes) if holes else mask


# ------------------------------------------------------------------------------------------- scenes
def compose(rng: np.random.Generator, size: int) -> tuple[list[Shape], np.ndarray]:
    """Choose and place 2 to 6 objects, and sometimes a crowd behind them.

    Returns the clipped shapes, back to front, and the label map (S, S) int16: 0 background,
    ``k + 1`` where shape ``k`` is visible. No shape is hidden so far that it is hopeless.
    """
    floor = max(8, _MIN_PIXELS * size**2)
    while True:
        shapes: list[Shape] = []
        areas: list[int] = []
        labels = np.zeros((size, size), np.int16)
        count = int(rng.integers(2, 7))
        figures = (1 + (count > 2 and rng.random() < 0.25)) if rng.random() < 0.62 else 0
        kinds = [_FIGURE] * figures + [int(rng.integers(5)) for _ in range(count - figures)]
        order = sorted(range(count), key=[rng.random() for _ in range(count)].__getitem__)
        if rng.random() < 0.06:
            shapes.append(_clipped(_crowd(rng, size), size))
            mask = rasterise(shapes[0].parts, [], size, size)
            labels[mask] = 1
            areas.append(int(mask.sum()))
        for kind in (kinds[k] for k in order):
            for attempt in range(60):
                shrink = 1 - attempt / 120
                shape = _clipped(_place(rng, _random_shape(rng, kind, size, shrink), size), size)
                mask = rasterise(shape.parts, shape.holes, size, size)
                area = int(mask.sum())
                left = np.bincount(labels[~mask], minlength=len(areas) + 1)[1:]
                need = [
                    max(floor, (0.9 if s.crowd else _MIN_VISIBLE) * a)
                    for s, a in zip(shapes, areas, strict=True)
                ]
                on_crowd = areas[0] - left[0] if shapes and shapes[0].crowd else 0
                if area >= floor and on_crowd <= 0.1 * area and all(left >= need):
                    shapes.append(shape)
                    areas.append(area)
                    labels[mask] = len(areas)
                    break
        if sum(not s.crowd for s in shapes) >= 2:
            return shapes, labels


def to_rle(mask: np.ndarray) -> dict:
    """Uncompressed COCO RLE of a (H, W) bool mask: column-major runs, the first of zeros."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = [0, *edges.tolist(), flat.size]
    counts = [b - a for a, b in itertools.pairwise(bounds)]
    return {"counts": [0, *counts] if flat[0] else counts, "size": list(mask.shape)}


def _keypoints(joints: np.ndarray, label: int, labels: np.ndarray) -> list:
    """Flat COCO list [x, y, v] * K: v 2 seen, 1 behind a later shape, 0 (x = y = 0) outside."""
    last, flat = labels.shape[0] - 1, []
    for x, y in (np.round(joints, 2) - 0.5).tolist():
        if not (0 <= x <= last and 0 <= y <= last):
            flat += [0, 0, 0]
        else:
            covered = labels[int(y + 0.5), int(x + 0.5)] > label
            flat += [round(x, 2), round(y, 2), 1 if covered else 2]
    return flat


def annotate(
    rng: np.random.Generator, shapes: list[Shape], labels: np.ndarray, image_id: int
) -> list[dict]:
    """COCO annotations of a scene. Ids are ``image_id * 100 + 1, ...``, unique over a split.

    Args:
        rng: decides which masks are written as polygons.
        shapes: in the order they were painted.
        labels: (S, S) which shape a pixel shows, counted from 1; 0 for none.
        image_id: of the image.
    """
    annotations = []
    for label, shape in enumerate(shapes, 1):
        visible = labels == label
        rle = mask_utils.encode(np.asfortranarray(visible.astype(np.uint8)))
        polygons = rng.random() < 2 / 3 and not (shape.holes or shape.crowd)
        if polygons and (visible == rasterise(shape.parts, [], *labels.shape)).all():
            segmentation = [p.ravel().tolist() for p in shape.parts]
        else:
            segmentation = to_rle(visible)
        annotation = {
            "id": image_id * 100 + label,
            "image_id": image_id,
            "category_id": shape.category + 1,
            "bbox": mask_utils.toBbox(rle).tolist(),
            "area": int(mask_utils.area(rle)),
            "iscrowd": int(shape.crowd),
            "segmentation": segmentation,
        }
        if shape.joints is not None:
            annotation["keypoints"] = _keypoints(shape.joints, label, labels)
            annotation["num_keypoints"] = sum(v > 0 for v in annotation["keypoints"][2::3])
        annotations.append(annotation)
    return annotations
