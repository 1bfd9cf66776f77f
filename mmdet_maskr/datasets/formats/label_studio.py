"""Label Studio's own JSON (JSON and JSON-MIN): a list of tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Crop, Object, split_of
from mmdet_maskr.datasets.formats.shapes import ellipse, rectangle
from mmdet_maskr.errors import UserError

NAME = "Label Studio JSON"
_LABELS = ("polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels")
_MOST_PIXELS = 1 << 28


def find(folder: Folder) -> list[Path]:
    """Its JSON files."""
    return [path for path in folder.of_kind(".json") if _is_tasks(folder.json(path))]


def _is_tasks(content: Any) -> bool:
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    if isinstance(content[0].get("data"), dict):
        return any(key in content[0] for key in ("annotations", "completions", "predictions"))
    return any(
        key in region
        for task in content[:100]
        if isinstance(task, dict)
        for regions in task.values()
        if isinstance(regions, list)
        for region in regions[:1]
        if isinstance(region, dict)
        for key in _LABELS
    )


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Of several annotations of a task the last one that was not canceled counts.

    A task that has none is left out; one whose annotation has no region is a photo of nothing.
    """
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            for number, task in enumerate(folder.json(path)):
                if task.get("annotations", task.get("completions")) == []:
                    found.assumed["photos that nobody has annotated, left out"] += 1
                    continue
                photo = folder.photo(found, _image_of(task), path.parent)
                if photo is None:
                    continue
                photo.split = split_of(path.relative_to(folder.root).parts[:-1])
                assert photo.width and photo.height
                for region in _regions(task, found):
                    named = f"{path}, task {task.get('id', number)}"
                    made = _object(region, found, photo.width, photo.height, named)
                    if made is not None:
                        photo.objects.append(made)
    return found


def _image_of(task: dict) -> str:
    data = task.get("data", task)
    for key in ("image", "img", "photo", "url"):
        if isinstance(data.get(key), str):
            return _path_of(data[key])
    texts = [v for v in data.values() if isinstance(v, str) and "." in v[-6:]]
    if len(texts) != 1:
        raise UserError(f"task {task.get('id')} does not say which of its values is the image.")
    return _path_of(texts[0])


def _path_of(address: str) -> str:
    """The file of an upload, or of local storage: ``/data/local-files/?d=folder/a.png``."""
    return address.partition("?d=")[2] or address


def _regions(task: dict, found: Collection) -> Iterator[tuple[str, dict, list[str], dict]]:
    """Type, values, labels of each region of a task, and the region."""
    if not isinstance(task.get("data"), dict):
        for regions in task.values():
            for value in regions if isinstance(regions, list) else ():
                for kind in _LABELS:
                    if isinstance(value, dict) and kind in value:
                        yield kind, value, value[kind], value
        return
    every = task.get("annotations", task.get("completions"))
    if every is None:  # tasks to be imported, with what a model has found; an export has the key
        every = task.get("predictions", [])
        if any(prediction["result"] for prediction in every):
            found.assumed["photos with predictions instead of annotations, taken as such"] += 1
    done = [annotation for annotation in every if not annotation.get("was_cancelled")]
    if len(done) > 1:
        found.assumed["annotations of a task that has a later one, left out"] += len(done) - 1
    for region in done[-1]["result"] if done else ():
        kind, value = region.get("type", ""), region.get("value", {})
        if kind in _LABELS:
            yield kind, value, value.get(kind, []), region
        elif kind.endswith("labels"):
            found.assumed[f"regions of type {kind}, which have no area, left out"] += 1


def _object(
    region: tuple[str, dict, list[str], dict],
    found: Collection,
    width: int,
    height: int,
    named: str,
) -> Object | None:
    kind, value, labels, whole = region
    if not labels:
        found.assumed["regions without a label, left out"] += 1
        return None
    made = Object(found.add_class(str(labels[0])))
    if kind == "polygonlabels":
        points = np.asarray(value["points"], np.float64) * [width / 100, height / 100]
        made.polygons = [[float(v) for v in points.ravel()]]
    elif kind == "rectanglelabels":
        x, w = (value[key] * width / 100 for key in ("x", "width"))
        y, h = (value[key] * height / 100 for key in ("y", "height"))
        if value.get("rotation"):
            made.polygons = [rectangle(x, y, w, h, value["rotation"])]
        else:
            made.box = [x, y, w, h]
    elif kind == "ellipselabels":
        x, rx = (value[key] * width / 100 for key in ("x", "radiusX"))
        y, ry = (value[key] * height / 100 for key in ("y", "radiusY"))
        made.polygons = [ellipse(x, y, rx, ry, math.radians(value.get("rotation", 0)))]
    else:
        size = whole.get("original_width", width), whole.get("original_height", height)
        if size != (width, height):
            raise UserError(
                f"{named}: a brush mask of {size[0]} x {size[1]}, not {width} x {height}."
            )
        made.crop = Crop(brush_mask(value["rle"], width, height, named))
    return made


def brush_mask(data: list[int], width: int, height: int, named: str) -> np.ndarray:
    """Pixels (height, width) bool of a brush, from Label Studio's run lengths.

    A stream of bits: how many values (32 bits), bits of a value less one (5), four sizes of run
    lengths less one (4 each). Then runs: one bit for "all equal", two that choose the size, the
    length less one, and the value, or all values. The values are red, green, blue, opacity of each
    pixel; what is not transparent belongs to the mask.

    Raises:
        UserError: the stream ends early, or is of another size.
    """
    bits = np.unpackbits(np.asarray(data, np.uint8))
    place = 0

    def take(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise UserError(f"{named}: the brush mask is cut off.")
        number = int.from_bytes(np.packbits(bits[place : place + count]).tobytes(), "big")
        place += count
        return number >> (-count % 8)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    if total != 4 * width * height or total > _MOST_PIXELS:
        raise UserError(f"{named}: a brush mask of {total // 4} pixels, not {width} x {height}.")
    values = np.zeros(total, np.uint32)
    done = 0
    while done < total:
        equal = take(1)
        end = done + 1 + take(sizes[take(2)])
        if end > total:
            raise UserError(f"{named}: the brush mask is longer than its image.")
        if equal:
            values[done:end] = take(word)
        else:
            for index in range(done, end):
                values[index] = take(word)
        done = end
    return values.reshape(height, width, 4)[..., 3] > 0
