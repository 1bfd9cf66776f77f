"""VoTT: an export (one JSON), or a project's asset files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, split_of

NAME = "VoTT"


def find(folder: Folder) -> list[Path]:
    """An export, or else the asset files."""
    jsons = folder.of_kind(".json")
    exports = [path for path in jsons if _assets_of(folder.json(path))]
    return exports or [path for path in jsons if _is_asset(folder.json(path))]


def _assets_of(content: Any) -> list[dict]:
    assets = content.get("assets") if isinstance(content, dict) else None
    listed = list(assets.values()) if isinstance(assets, dict) else []
    return listed if listed and all(map(_is_asset, listed)) else []


def _is_asset(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("asset"), dict) and isinstance(
        content.get("regions"), list
    )  # fmt: skip


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. A region's class is its first tag."""
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            content = folder.json(path)
            for tag in content.get("tags") or []:
                found.add_class(str(tag["name"]))
            for entry in _assets_of(content) or [content]:
                size = entry["asset"].get("size") or {}
                name = entry["asset"].get("path") or entry["asset"]["name"]
                photo = folder.photo(found, name.removeprefix("file:"), path.parent,
                                     (size.get("width"), size.get("height")))  # fmt: skip
                if photo is None:
                    continue
                photo.split = split_of(path.relative_to(folder.root).parts[:-1])
                for region in entry["regions"]:
                    if not region["tags"]:
                        found.assumed["regions without a tag, left out"] += 1
                        continue
                    made = Object(found.add_class(str(region["tags"][0])))
                    if region["type"] == "RECTANGLE":
                        box = region["boundingBox"]
                        made.box = [float(box[k]) for k in ("left", "top", "width", "height")]
                    else:
                        points = region["points"]
                        made.polygons = [[float(p[axis]) for p in points for axis in "xy"]]
                    photo.objects.append(made)
    return found
