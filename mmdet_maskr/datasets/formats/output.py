"""Records as a COCO annotation file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from mmdet_maskr.datasets.formats.records import Collection, Crop, Object, Photo


def to_coco(
    collection: Collection, photos: Iterable[Photo], names: Mapping[Path, str]
) -> dict[str, Any]:
    """A COCO file's content.

    Objects with a box alone have ``segmentation: []``. Categories are in the order of
    ``collection.classes``, from id 1.

    Args:
        collection: of the photos, for its classes and keypoints.
        photos: those that the file lists.
        names: ``file_name`` of each photo.
    """
    numbers = {name: i for i, name in enumerate(collection.classes, start=1)}
    images: list[dict] = []
    annotations: list[dict] = []
    for photo in photos:
        image = dict(id=len(images) + 1, file_name=names[photo.path])
        images.append(dict(image, width=photo.width, height=photo.height))
        for item in photo.objects:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image["id"],
                    category_id=numbers[item.label],
                    iscrowd=int(item.crowd),
                    **annotation_of(item, photo),
                )
            )
    return dict(
        images=images,
        annotations=annotations,
        categories=[_category(collection, name, number) for name, number in numbers.items()],
    )


def _category(collection: Collection, name: str, number: int) -> dict:
    category: dict[str, Any] = dict(id=number, name=name)
    if name in collection.keypoints:
        category |= dict(
            keypoints=collection.keypoints[name], skeleton=collection.skeletons.get(name, [])
        )
    return category


def annotation_of(item: Object, photo: Photo) -> dict[str, Any]:
    """Mask, box, area and keypoints of an object, as COCO writes them: ``segmentation``, ``bbox``,
    ``area``, ``keypoints`` and ``num_keypoints``, as far as the object has them."""
    height, width = photo.height or 0, photo.width or 0
    values: dict[str, Any] = dict(segmentation=[])
    rle = None
    if item.rle is not None:
        values["segmentation"] = item.rle
        rle = item.rle
        if isinstance(rle.get("counts"), list):
            rle = coco.frPyObjects(rle, *rle["size"])
    elif item.crop is not None:
        rle = _encode(item.crop, width, height)
        if item.polygons:
            parts = coco.frPyObjects(item.polygons, height, width)
            rle = coco.merge([rle, *parts])
        values["segmentation"] = dict(size=[height, width], counts=rle["counts"].decode())
    elif item.polygons:
        values["segmentation"] = item.polygons
    if rle is not None:
        values["bbox"] = item.box or [float(v) for v in coco.toBbox(rle)]
        values["area"] = float(coco.area(rle))
    elif item.polygons and all(len(polygon) >= 6 for polygon in item.polygons):
        merged = coco.merge(coco.frPyObjects(item.polygons, height, width))
        values["area"] = float(coco.area(merged))
        values["bbox"] = item.box or _bounds(np.concatenate([*map(np.asarray, item.polygons)]))
    elif item.box is not None:
        values["bbox"] = item.box
        values["area"] = float(item.box[2]) * float(item.box[3])
    if item.keypoints is not None:
        points = np.reshape(item.keypoints, (-1, 3))
        labeled = points[points[:, 2] > 0, :2]
        values["keypoints"] = item.keypoints
        values["num_keypoints"] = len(labeled)
        if "bbox" not in values and len(labeled):
            values["bbox"] = _bounds(labeled.ravel())
            values["area"] = values["bbox"][2] * values["bbox"][3]
    return values


def _bounds(flat: np.ndarray) -> list[float]:
    points = flat.reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return [float(v) for v in (*low, *(high - low))]


def _encode(crop: Crop, width: int, height: int) -> dict:
    """RLE of a crop, cut to the photo."""
    full = np.zeros((height, width), np.uint8, order="F")
    rows, columns = crop.pixels.shape
    x, y = max(crop.x, 0), max(crop.y, 0)
    inside = crop.pixels[y - crop.y : height - crop.y, x - crop.x : width - crop.x]
    full[y : min(crop.y + rows, height), x : min(crop.x + columns, width)] = inside
    return coco.encode(full)
