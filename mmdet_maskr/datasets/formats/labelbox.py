"""Labelbox: the older JSON (a list) and the newer NDJSON (a row for each image)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, split_of

NAME = "Labelbox"


def find(folder: Folder) -> list[Path]:
    """Its JSON files."""
    files = folder.of_kind(".json", ".ndjson", ".jsonl")
    return [path for path in files if _is_labelbox(folder.json(path))]


def _is_labelbox(content: Any) -> bool:
    rows = content if isinstance(content, list) else [content]
    first = rows[0] if rows else None
    return isinstance(first, dict) and (
        "data_row" in first or {"Label", "External ID"} <= set(first)
    )


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Masks that Labelbox keeps on its servers are left out, and counted."""
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            content = folder.json(path)
            for row in content if isinstance(content, list) else [content]:
                name = row["data_row"]["external_id"] if "data_row" in row else row["External ID"]
                photo = folder.photo(found, name, path.parent)
                if photo is None:
                    continue
                details = row.get("data_row", {}).get("details") or {}
                split = str(details.get("data_split") or row.get("Data Split") or "")
                photo.split = split_of([*path.relative_to(folder.root).parts[:-1], split])
                for entry in _objects_of(row):
                    made = _object(entry, found)
                    if made is not None:
                        photo.objects.append(made)
    return found


def _objects_of(row: dict) -> list[dict]:
    if "data_row" not in row:
        label = row["Label"]
        return label.get("objects", []) if isinstance(label, dict) else []
    listed: list[dict] = []
    for project in row.get("projects", {}).values():
        for label in project["labels"][-1:]:
            listed += label["annotations"]["objects"]
    return listed


def _object(entry: dict, found: Collection) -> Object | None:
    label = entry.get("title") or entry.get("name") or entry.get("value")
    made = Object(str(label))
    box = entry.get("bounding_box") or entry.get("bbox")
    if entry.get("polygon"):
        made.polygons = [[float(point[axis]) for point in entry["polygon"] for axis in "xy"]]
    elif box:
        made.box = [float(box[key]) for key in ("left", "top", "width", "height")]
    elif entry.get("mask") or entry.get("instanceURI"):
        found.assumed["masks that lie on Labelbox's servers, left out"] += 1
        return None
    else:
        found.assumed["objects without an area, left out"] += 1
        return None
    found.add_class(made.label)
    return made
