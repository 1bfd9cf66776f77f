"""Labelbox: the older JSON (a list) and the newer NDJSON (a row for each image)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, split_of
from mmdet_maskr.errors import UserError

NAME = "Labelbox"
_ELSEWHERE = "masks that lie on Labelbox's servers, left out"


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
    """Read them. Masks that Labelbox keeps on its servers are left out, and counted.

    So are photos that nobody has labeled, or that were skipped.

    Raises:
        UserError: an export of 2018, of which it is not known from which corner y counts; one all
            of whose objects are masks on Labelbox's servers.
    """
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            content = folder.json(path)
            for row in content if isinstance(content, list) else [content]:
                entries = _objects_of(row, path)
                if entries is None:
                    found.assumed["photos that nobody has labeled, left out"] += 1
                    continue
                photo = folder.photo(found, _name_of(row), path.parent)
                if photo is None:
                    continue
                details = row.get("data_row", {}).get("details") or {}
                split = str(details.get("data_split") or row.get("Data Split") or "")
                photo.split = split_of([*path.relative_to(folder.root).parts[:-1], split])
                for entry in entries:
                    made = _object(entry, found)
                    if made is not None:
                        photo.objects.append(made)
    if found.assumed[_ELSEWHERE] and not any(photo.objects for photo in found.photos):
        raise UserError(
            f"{sources[0]} has masks as addresses on Labelbox's servers alone, which want a key: "
            "save them as images with Labelbox's library, one for each object in a folder `masks`."
        )
    return found


def _name_of(row: dict) -> str:
    """What the photo was called when it was uploaded, or else its address."""
    if "data_row" not in row:
        return row["External ID"] or row["Labeled Data"]
    about = row["data_row"]
    names = [about.get(key) for key in ("external_id", "global_key", "row_data")]
    named = [name for name in names if name and Path(name).suffix]
    return (named or [name for name in names if name])[0]


def _objects_of(row: dict, path: Path) -> list[dict] | None:
    """Objects of a photo; None of one that nobody has labeled."""
    if "data_row" not in row:
        label = row["Label"]
        if not isinstance(label, dict) or row.get("Skipped") or not label:
            return None
        if "objects" in label or "classifications" in label:
            return label.get("objects", [])
        raise UserError(
            f"{path} is of an older Labelbox, and does not say from which corner y counts: export "
            "it anew."
        )
    labels = [label for project in row["projects"].values() for label in project["labels"][-1:]]
    if not labels:
        return None
    return [entry for label in labels for entry in label["annotations"]["objects"]]


def _object(entry: dict, found: Collection) -> Object | None:
    label = entry.get("title") or entry.get("name") or entry.get("value")
    made = Object(str(label))
    box = entry.get("bounding_box") or entry.get("bbox")
    if entry.get("polygon"):
        made.polygons = [[float(point[axis]) for point in entry["polygon"] for axis in "xy"]]
    elif box:
        made.box = [float(box[key]) for key in ("left", "top", "width", "height")]
    elif any(entry.get(key) for key in ("mask", "composite_mask", "instanceURI")):
        found.assumed[_ELSEWHERE] += 1
        return None
    else:
        found.assumed["objects without an area, left out"] += 1
        return None
    found.add_class(made.label)
    return made
