"""Removes objects that cannot be drawn, so that records are valid for any file."""

from __future__ import annotations

from mmdet_maskr.coco.check.annotations import check_rle
from mmdet_maskr.coco.check.values import is_box, is_number, is_polygon
from mmdet_maskr.datasets.formats.records import Collection, Object, Photo


def tidy(collection: Collection) -> None:
    """Leave out masks, boxes and keypoints that are none, and objects that have nothing else."""
    for photo in collection.photos:
        kept = []
        for item in photo.objects:
            lost = _tidy(item, photo)
            if lost:
                collection.assumed["masks that cannot be drawn, left out"] += 1
            if item.polygons or item.crop or item.rle or item.box or item.keypoints:
                kept.append(item)
            else:
                collection.assumed["objects without a mask, a box or keypoints, left out"] += 1
        photo.objects = kept


def _tidy(item: Object, photo: Photo) -> bool:
    """Whether the object has lost its mask, or a part of it."""
    width, height = photo.width or 0, photo.height or 0
    before = len(item.polygons)
    item.polygons = [p for p in item.polygons if is_polygon(p) and len(p) >= 6 and not len(p) % 2]
    lost = len(item.polygons) < before
    if item.rle is not None and any(p.is_error for p in check_rle(item.rle, "", width, height)):
        item.rle, lost = None, True
    if item.crop is not None:
        rows, columns = item.crop.pixels.shape
        x, y = item.crop.x, item.crop.y
        if x >= width or y >= height or x + columns <= 0 or y + rows <= 0:
            item.crop, lost = None, True
    if not is_box(item.box):
        item.box = None
    values = item.keypoints
    if values is not None and not (
        values and len(values) % 3 == 0 and all(map(is_number, values)) and any(values[2::3])
    ):
        item.keypoints = None
    return lost
