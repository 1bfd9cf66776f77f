"""labelme: a JSON next to each photo."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.datasets.formats.records import Collection, Object
from mmdet_maskr.datasets.formats.tracing import parts_of

IMAGES = ""
VERSION = "5.5.0"  # of labelme, the first to draw masks being 5.3


def write(collection: Collection, names: Mapping[Path, str], out: Path) -> Counter[str]:
    """Write the files. Parts of an object have a group; what has holes is a mask."""
    left_out: Counter[str] = Counter()
    for photo in collection.photos:
        shapes: list[dict] = []
        for number, item in enumerate(photo.objects, start=1):
            shapes += _shapes(item, number)
            left_out["keypoints of an object"] += item.keypoints is not None
        path = out / names[photo.path]
        content: dict[str, Any] = dict(
            version=VERSION, flags={}, shapes=shapes, imagePath=path.name, imageData=None,
            imageHeight=photo.height, imageWidth=photo.width,
        )  # fmt: skip
        write_whole(path.with_suffix(".json"), json.dumps(content, indent=1))
    return +left_out


def _shapes(item: Object, number: int) -> list[dict]:
    if item.rle is None:
        if item.box is None:
            return []
        x, y, w, h = item.box
        return [_shape(item.label, "rectangle", [[x, y], [x + w, y + h]], None)]
    parts = parts_of(item.rle)
    if any(part.holes for part in parts):
        return [_mask(item)]
    group = number if len(parts) > 1 else None
    return [
        _shape(item.label, "polygon", np.reshape(part.outline, (-1, 2)).tolist(), group)
        for part in parts
    ]


def _mask(item: Object) -> dict:
    """A mask's pixels as a PNG; its two points are the first and the last of them."""
    x, y, w, h = (int(value) for value in coco.toBbox(item.rle))
    crop = coco.decode(item.rle)[y : y + h, x : x + w]
    png = cv2.imencode(".png", crop * 255)[1]
    shape = _shape(item.label, "mask", [[x, y], [x + w - 1, y + h - 1]], None)
    return dict(shape, mask=base64.b64encode(png.tobytes()).decode())


def _shape(label: str, kind: str, points: list, group: int | None) -> dict[str, Any]:
    return dict(label=label, points=points, group_id=group, description="", shape_type=kind,
                flags={})  # fmt: skip
