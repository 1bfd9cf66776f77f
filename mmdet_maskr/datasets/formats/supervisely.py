"""Supervisely: meta.json, and DATASET/ann/IMAGE.json for each DATASET/img/IMAGE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Crop, Object, Photo, split_of
from mmdet_maskr.datasets.formats.shapes import embedded_mask, with_holes

NAME = "Supervisely"


def find(folder: Folder) -> list[Path]:
    """meta.json and the files of the images."""
    jsons = folder.of_kind(".json")
    found = [path for path in jsons if _is_image(folder.json(path))]
    metas = [path for path in jsons if path.name == "meta.json"]
    return [*metas, *found] if found else []


def _is_image(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("objects"), list)
        and isinstance(content.get("size"), dict)
        and {"width", "height"} <= set(content["size"])
    )


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Classes are in the order of meta.json."""
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            content = folder.json(path)
            if path.name == "meta.json":
                _read_classes(content, found)
                continue
            size = content["size"]["width"], content["size"]["height"]
            name = path.stem if Path(path.stem).suffix else path.stem + ".png"
            photo = folder.photo(found, f"img/{name}", path.parent.parent, size)
            if photo is None:
                continue
            tags = [str(tag.get("name", "")) for tag in content.get("tags", [])]
            photo.split = split_of([*path.relative_to(folder.root).parts[:-1], *tags])
            for entry in content["objects"]:
                made = _object(entry, found, photo, str(path))
                if made is not None:
                    photo.objects.append(made)
    return found


def _read_classes(content: dict, found: Collection) -> None:
    for entry in content["classes"]:
        name = found.add_class(entry["title"])
        nodes = (entry.get("geometry_config") or {}).get("nodes")
        if nodes:
            found.keypoints[name] = list(nodes)


def _object(entry: dict, found: Collection, photo: Photo, named: str) -> Object | None:
    kind = entry.get("geometryType") or ("bitmap" if entry.get("bitmap") else "polygon")
    made = Object(found.add_class(entry["classTitle"]))
    if kind == "polygon":
        outer, holes = entry["points"]["exterior"], entry["points"].get("interior") or []
        if holes:
            made.crop = Crop(with_holes(outer, holes, photo.width or 0, photo.height or 0))
        else:
            made.polygons = [[float(v) for point in outer for v in point]]
    elif kind == "bitmap":
        x, y = entry["bitmap"]["origin"]
        pixels = embedded_mask(entry["bitmap"]["data"], named, packed=True)
        made.crop = Crop(pixels, int(x), int(y))
    elif kind == "rectangle":
        corners = np.asarray(entry["points"]["exterior"], np.float64)
        low, high = corners.min(0), corners.max(0)
        made.box = [float(v) for v in (*low, *(high - low))]
    elif kind == "graph":
        made.keypoints = _joints(entry["nodes"], found.keypoints.get(made.label, []))
    else:
        found.assumed[f"objects of type {kind}, which have no area, left out"] += 1
        return None
    return made


def _joints(nodes: dict, names: list[str]) -> list[float]:
    flat: list[float] = []
    for name in names:
        node = nodes.get(name)
        if node is None:
            flat += [0.0, 0.0, 0.0]
        else:
            flat += [*(float(v) for v in node["loc"]), 1.0 if node.get("disabled") else 2.0]
    return flat
