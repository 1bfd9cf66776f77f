"""Datumaro's own JSON, which CVAT and Geti export, too: a file for each subset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, split_of

NAME = "Datumaro"


def find(folder: Folder) -> list[Path]:
    """Its JSON files."""
    return [path for path in folder.of_kind(".json") if _is_datumaro(folder.json(path))]


def _is_datumaro(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("items"), list)
        and isinstance(content.get("categories"), dict)
    )


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Shapes with the same group and label are parts of one object."""
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            content = folder.json(path)
            listed = content["categories"]["label"]["labels"]
            names = {i: found.add_class(entry["name"]) for i, entry in enumerate(listed)}
            for entry in (content["categories"].get("points") or {}).get("items") or []:
                found.keypoints[names[entry["label_id"]]] = [str(name) for name in entry["labels"]]
            split = split_of([*path.relative_to(folder.root).parts[:-1], path.stem])
            for item in content["items"]:
                image = item.get("image") or item.get("media") or {}
                height, width = image.get("size") or (None, None)
                name = image.get("path") or item["id"]
                photo = folder.photo(found, name, path.parent, (width, height), split)
                if photo is None:
                    continue
                photo.split = split
                for entry in item["annotations"]:
                    made = _object(entry, names, found)
                    if made is not None:
                        photo.objects.append(made)
    return found


def _object(entry: dict, names: dict[int, str], found: Collection) -> Object | None:
    kind = entry["type"]
    if kind in ("label", "caption"):  # of the photo
        return None
    if entry.get("label_id") not in names:
        found.assumed["annotations without a class, left out"] += 1
        return None
    group = entry.get("group")
    made = Object(names[entry["label_id"]], group=str(group) if group else None)
    if kind == "polygon":
        made.polygons = [[float(value) for value in entry["points"]]]
    elif kind == "mask":
        made.rle = entry["rle"]
    elif kind == "bbox":
        made.box = [float(value) for value in entry["bbox"]]
    elif kind == "points":
        seen = entry.get("visibility") or [2] * (len(entry["points"]) // 2)
        points = zip(entry["points"][::2], entry["points"][1::2], seen, strict=True)
        made.keypoints = [float(v) for x, y, s in points for v in ((x, y, s) if s else (0, 0, 0))]
    else:
        found.assumed[f"shapes of type {kind}, which have no area, left out"] += 1
        return None
    return made
