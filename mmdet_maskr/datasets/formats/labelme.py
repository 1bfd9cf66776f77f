"""labelme: one JSON for each image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Crop, Object, split_of
from mmdet_maskr.datasets.formats.shapes import ellipse, embedded_mask, rectangle

NAME = "labelme"
_NO_OBJECTS = ("__ignore__", "_background_")


def find(folder: Folder) -> list[Path]:
    """Its JSON files."""
    return [path for path in folder.of_kind(".json") if _is_labelme(folder.json(path))]


def _is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and (
        "imagePath" in content
    )  # fmt: skip


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Shapes with the same group and label are parts of one object."""
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            content = folder.json(path)
            size = content.get("imageWidth"), content.get("imageHeight")
            name = content["imagePath"] or path.stem
            if folder.images.find(name, path.parent) is None:
                name = path.stem + Path(name).suffix  # the image was renamed with its JSON
            photo = folder.photo(found, name, path.parent, size)
            if photo is None:
                continue
            photo.split = split_of(path.relative_to(folder.root).parts[:-1])
            for number, shape in enumerate(content["shapes"]):
                made = _object(shape, found, f"{path}, shapes[{number}]")
                if made is not None:
                    photo.objects.append(made)
    return found


def _object(shape: dict, found: Collection, named: str) -> Object | None:
    kind, points, label = shape.get("shape_type") or "polygon", shape["points"], shape["label"]
    if label in _NO_OBJECTS:
        found.assumed[f"shapes named {label}, left out"] += 1
        return None
    group = shape.get("group_id")
    made = Object(str(label), group=None if group is None else str(group))
    if kind == "polygon":
        made.polygons = [[float(v) for point in points for v in point]]
    elif kind == "rectangle":
        (x0, x1), (y0, y1) = (sorted(point[i] for point in (points[0], points[-1])) for i in (0, 1))
        if len(points) == 4:
            x0, x1 = min(p[0] for p in points), max(p[0] for p in points)
            y0, y1 = min(p[1] for p in points), max(p[1] for p in points)
        made.polygons = [rectangle(x0, y0, x1 - x0, y1 - y0)]
    elif kind == "circle":
        (x, y), on_it = points
        radius = math.dist((x, y), on_it)
        made.polygons = [ellipse(x, y, radius, radius)]
    elif kind == "mask":
        x, y = (round(min(point[i] for point in points)) for i in (0, 1))
        made.crop = Crop(embedded_mask(shape["mask"], named), x, y)
    else:
        found.assumed[f"shapes of type {kind}, which have no area, left out"] += 1
        return None
    found.add_class(made.label)
    return made
