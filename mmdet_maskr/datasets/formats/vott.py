"""VoTT: an export (one JSON), a project's asset files, or the file that version 1 keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, Photo, split_of
from mmdet_maskr.errors import UserError

NAME = "VoTT"
_VISITED = 1  # state of an asset that was opened; 0 of one that was not
_UNSEEN = "photos that nobody has opened in VoTT, left out"


def find(folder: Folder) -> list[Path]:
    """An export, or else the asset files."""
    jsons = folder.of_kind(".json")
    exports = [path for path in jsons if _is_export(folder.json(path))]
    return exports or [path for path in jsons if _is_asset(folder.json(path))]


def _is_export(content: Any) -> bool:
    return bool(_assets_of(content)) or _is_first(content)


def _assets_of(content: Any) -> list[dict]:
    assets = content.get("assets") if isinstance(content, dict) else None
    listed = list(assets.values()) if isinstance(assets, dict) else []
    return listed if listed and all(map(_is_asset, listed)) else []


def _is_asset(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("asset"), dict) and isinstance(
        content.get("regions"), list
    )  # fmt: skip


def _is_first(content: Any) -> bool:
    """Whether version 1 wrote it."""
    return isinstance(content, dict) and isinstance(content.get("frames"), dict) and (
        "inputTags" in content
    )  # fmt: skip


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. A region's class is its first tag. Photos that nobody has opened are left out.

    Raises:
        UserError: tagged frames of a video.
    """
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            content = folder.json(path)
            if _is_first(content):
                _read_first(content, folder, path, found)
                continue
            for tag in content.get("tags") or []:
                found.add_class(str(tag["name"]))
            for entry in _assets_of(content) or [content]:
                asset, size = entry["asset"], entry["asset"].get("size") or {}
                if not entry["regions"] and asset.get("state", _VISITED) < _VISITED:
                    found.assumed[_UNSEEN] += 1
                    continue
                name = (asset.get("path") or asset["name"]).removeprefix("file:")
                sides = size.get("width"), size.get("height")
                photo = folder.photo(found, name, path.parent, sides)
                if photo is None:
                    continue
                photo.split = split_of(path.relative_to(folder.root).parts[:-1])
                for region in entry["regions"]:
                    _add(region, (1.0, 1.0), photo, found)
    return found


def _read_first(content: dict, folder: Folder, path: Path, found: Collection) -> None:
    """Read what version 1 wrote: photos by name, with regions in pixels of how it showed them."""
    for tag in content["inputTags"].split(","):
        found.add_class(tag)
    seen = {str(name) for name in content.get("visitedFrames", content["frames"])}
    for name, regions in content["frames"].items():
        if not Path(name).suffix:
            raise UserError(f"{path} has frames of a video, such as {name}: export them as images.")
        if not regions and name not in seen:
            found.assumed[_UNSEEN] += 1
            continue
        photo = folder.photo(found, name, path.parent)
        if photo is None:
            continue
        photo.split = split_of(path.relative_to(folder.root).parts[:-1])
        for region in regions:
            shown = float(region["width"]), float(region["height"])
            sides = (photo.width or 0) / shown[0], (photo.height or 0) / shown[1]
            if region["type"].upper() == "RECTANGLE":
                x, y, x1, y1 = (float(region[key]) for key in ("x1", "y1", "x2", "y2"))
                region = dict(region, boundingBox=dict(left=x, top=y, width=x1 - x, height=y1 - y))
            _add(region, sides, photo, found)


def _add(region: dict, scale: tuple[float, float], photo: Photo, found: Collection) -> None:
    """Add a region to a photo, whose pixels are ``scale`` times the region's, across and down."""
    if not region["tags"]:
        found.assumed["regions without a tag, left out"] += 1
        return
    made = Object(found.add_class(str(region["tags"][0])))
    if region["type"].upper() == "RECTANGLE":
        box = [float(region["boundingBox"][k]) for k in ("left", "top", "width", "height")]
        made.box = [value * scale[i % 2] for i, value in enumerate(box)]
    else:
        points = region["points"]
        made.polygons = [[float(p[axis]) * scale[i] for p in points for i, axis in enumerate("xy")]]
    photo.objects.append(made)
