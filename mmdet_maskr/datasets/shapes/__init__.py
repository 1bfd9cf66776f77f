"""SHAPES: a synthetic COCO dataset with boxes, masks, crowds and keypoints, drawn in seconds.

It stands in for COCO where the real one is too large: in tests, on a CPU, in the mini configs. Six
classes are told apart by shape alone; one of them, ``figure``, carries nine keypoints.

Everything of image ``i`` follows from ``(seed, split, i, size)``. So that it does so on every
machine, random numbers come from ``random`` and ``integers`` alone, vertices are rounded to 0.01
pixel before anything is decided on them, and pixels are computed with plain IEEE arithmetic and
integer sums (no SIMD-dependent filters, transcendental functions or float reductions).

Coordinates: polygons and boxes are continuous, pixel (0, 0) covers [0, 1] x [0, 1]; keypoints are
pixel indices as in COCO, i.e. the continuous coordinate minus 0.5.

Symbols: S image side, P parts of an object, V vertices of a polygon, K = 9 keypoints.
"""

from __future__ import annotations

from mmdet_maskr.datasets.shapes.meta import (
    CLASSES,
    KEYPOINT_META,
    KEYPOINTS,
    PALETTE,
    SIGMAS,
    SKELETON,
    SWAPS,
)
from mmdet_maskr.datasets.shapes.mosaic import write_mosaics
from mmdet_maskr.datasets.shapes.write import (
    MANIFEST,
    SIZE_RANGE,
    SPLITS,
    make_image,
    write_dataset,
)

__all__ = [
    "CLASSES",
    "KEYPOINTS",
    "KEYPOINT_META",
    "MANIFEST",
    "PALETTE",
    "SIGMAS",
    "SIZE_RANGE",
    "SKELETON",
    "SPLITS",
    "SWAPS",
    "make_image",
    "write_dataset",
    "write_mosaics",
]
