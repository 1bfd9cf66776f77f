"""The annotations that a crop of an image shows, in COCO's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_maskr import run_sets
from mmdet_maskr.coco.form import annotated_keypoints, to_corners, to_indices, to_sides
from mmdet_maskr.inference.tiles.grid import Tile
from mmdet_maskr.run_lengths import rles
from mmdet_maskr.structures.windows import Window

LEAST_SIDE = 2  # pixels; what is left of an object is no narrower


def cut_annotation(
    annotation: Mapping[str, Any], tile: Tile, size: tuple[int, int], min_visible: float
) -> dict | None:
    """What a crop shows of an annotation, in pixels of the crop; None where that is nothing.

    Args:
        annotation: COCO's, of an object or a crowd.
        tile: the crop.
        size: height and width of the image.
        min_visible: an object of which less is shown is a crowd.
    """
    height, width = tile.y1 - tile.y0, tile.x1 - tile.x0
    corners = to_corners(annotation["bbox"])[0]
    box = np.concatenate([np.maximum(corners[:2], tile[:2]), np.minimum(corners[2:], tile[2:])])
    if (box[2:] - box[:2]).min() <= 0:
        return None
    new = {**annotation}
    whole = float(np.prod(corners[2:] - corners[:2]))
    visible = float(np.prod(box[2:] - box[:2]))
    segmentation = annotation.get("segmentation")
    if segmentation:
        if isinstance(segmentation, Mapping):
            rle, whole, visible, box = _cut_rle(segmentation, tile, size)
            new["segmentation"] = rle
        else:
            polygons, whole, visible, box = _cut_polygons(segmentation, tile)
            new["segmentation"] = polygons
        if visible <= 0 or (box[2:] - box[:2]).min() < LEAST_SIDE:
            return None
    new["bbox"] = to_sides(box - np.tile(tile[:2], 2))[0].tolist()
    # areas of files are not always those of their masks, and count where sizes are told apart
    new["area"] = annotation.get("area", whole) * min(visible / whole, 1.0)
    if "keypoints" in annotation:
        points = annotated_keypoints(np.reshape(annotation["keypoints"], (-1, 3)))
        points[:, :2] -= tile[:2]
        inside = (points[:, :2] >= 0).all(1) & (points[:, :2] < (width, height)).all(1)
        labeled = inside & (points[:, 2] > 0)
        flat = np.where(labeled[:, None], to_indices(points), 0)
        new["keypoints"] = flat.ravel().tolist()
        new["num_keypoints"] = int(labeled.sum())
    if not annotation.get("iscrowd") and visible < min_visible * whole:
        new["iscrowd"] = 1
        if not isinstance(new.get("segmentation"), Mapping):
            new["segmentation"] = _as_rle(new.get("segmentation"), new["bbox"], height, width)
    return new


def _cut_polygons(
    polygons: Sequence[Sequence[float]], tile: Tile
) -> tuple[list[list[float]], float, float, np.ndarray]:
    """Clipped polygons, area before and after, and the box of what is left in the image."""
    height, width = tile.y1 - tile.y0, tile.x1 - tile.x0
    shift = np.array(tile[:2], np.float64)
    whole = visible = 0.0
    kept: list[np.ndarray] = []
    for polygon in polygons:
        corners = np.asarray(polygon, np.float64).reshape(-1, 2)
        whole += _area(corners)
        left = Window(corners - shift).cut(height, width).corners
        if len(left) >= 3 and _area(left) > 0:
            visible += _area(left)
            kept.append(left)
    if not kept:
        return [], max(whole, 1e-9), 0.0, np.zeros(4)
    every = np.concatenate(kept)
    box = np.concatenate([every.min(0), every.max(0)]) + np.tile(shift, 2)
    return [corners.ravel().tolist() for corners in kept], max(whole, 1e-9), visible, box


def _cut_rle(
    rle: Mapping[str, Any], tile: Tile, size: tuple[int, int]
) -> tuple[dict, float, float, np.ndarray]:
    """As :func:`_cut_polygons`."""
    height, width = tile.y1 - tile.y0, tile.x1 - tile.x0
    runs = run_sets.of_rle(rle)
    left = run_sets.cut(runs, tile, size[0])
    whole, visible = run_sets.area(runs), run_sets.area(left)
    if not visible:
        return {}, max(whole, 1e-9), 0.0, np.zeros(4)
    inside = run_sets.moved(left, size[0], -tile.x0, -tile.y0, height)
    starts, ends = inside[0::2], inside[1::2] - 1
    through = starts // height != ends // height
    low = 0 if through.any() else int((starts % height).min())
    high = height if through.any() else int((ends % height).max()) + 1
    box = np.array([starts[0] // height, low, ends[-1] // height + 1, high], np.float64)
    new = rles([inside], (height, width))[0]
    return dict(new, counts=new["counts"].decode()), whole, visible, box + np.tile(tile[:2], 2)


def _as_rle(polygons: Any, box: Sequence[float], height: int, width: int) -> dict:
    """Polygons of a crop, or its box where there are none, as crowds have their masks."""
    import pycocotools.mask

    x, y, w, h = box
    outlines = polygons or [[x, y, x + w, y, x + w, y + h, x, y + h]]
    parts = pycocotools.mask.frPyObjects(outlines, height, width)
    rle = pycocotools.mask.merge(parts)
    return dict(rle, counts=rle["counts"].decode())


def _area(corners: np.ndarray) -> float:
    """Of a polygon (P, 2)."""
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
