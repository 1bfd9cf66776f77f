"""CreateML: boxes by their centers, in one JSON for a folder of photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, split_of

NAME = "CreateML"


def find(folder: Folder) -> list[Path]:
    """Its JSON files."""
    return [path for path in folder.of_kind(".json") if _is_createml(folder.json(path))]


def _is_createml(content: Any) -> bool:
    first = content[0] if isinstance(content, list) and content else None
    return (
        isinstance(first, dict)
        and isinstance(_name_of(first), str)
        and isinstance(first.get("annotations"), list)
    )


def _name_of(entry: dict) -> Any:
    return entry.get("image", entry.get("imagefilename"))


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them."""
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            split = split_of(path.relative_to(folder.root).parts[:-1])
            for entry in folder.json(path):
                photo = folder.photo(found, _name_of(entry), path.parent, split=split)
                if photo is None:
                    continue
                photo.split = split
                for item in entry["annotations"]:
                    at = item["coordinates"]
                    x, y, width, height = (float(at[k]) for k in ("x", "y", "width", "height"))
                    box = [x - width / 2, y - height / 2, width, height]
                    photo.objects.append(Object(found.add_class(item["label"]), box=box))
    return found
