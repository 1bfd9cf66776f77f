"""PNG masks without other files: an index image per photo, or an image per object."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmdet_maskr.datasets.formats.folder import Folder, is_readable
from mmdet_maskr.datasets.formats.images import size_of
from mmdet_maskr.datasets.formats.records import Collection, Crop, Object, Photo, split_of
from mmdet_maskr.errors import UserError

NAME = "PNG masks"
CLASS = "object"  # masks alone name none
_FOLDER = re.compile(r"(.*[_-])?(masks?|labels?|instances?|annotations?|pedmasks)", re.IGNORECASE)
_SUFFIX = re.compile(r"[_-]?(masks?|labels?|instances?|instanceids|seg)$", re.IGNORECASE)
_KINDS = (".png", ".tif", ".tiff", ".bmp", ".gif")
MOST_OBJECTS = 5000  # of an image


def find(folder: Folder) -> list[Path]:
    """Images in a folder that is called like masks, next to photos."""
    masks = [path for path in folder.of_kind(*_KINDS) if _FOLDER.fullmatch(path.parent.name)]
    return masks if any(path not in set(masks) for path in folder.images.images) else []


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them; all objects are of one class.

    Raises:
        UserError: a mask that cannot be read, is of another size, or fits two photos.
    """
    found = Collection(NAME, classes=[CLASS])
    masks = set(sources)
    photos = [path for path in folder.images.images if path not in masks]
    by_photo = _masks_of(photos, sources)
    one_each = any(len(listed) > 1 for listed in by_photo.values())
    binary = not one_each and all(_is_binary(path) for (path, *_) in by_photo.values())
    for path in photos:
        if not is_readable(found, path):
            continue
        if path not in by_photo:
            found.assumed["photos without a mask, taken as without objects"] += 1
        width, height = size_of(path)
        photo = Photo(path, width=width, height=height)
        photo.split = split_of(path.relative_to(folder.root).parts[:-1])
        for mask in by_photo.get(path, ()):
            values = _read(mask)
            if values.shape != (height, width):
                raise UserError(f"mask {mask} is not of the size of {path}, {width} x {height}.")
            if one_each:
                parts = [values > 0]
            elif binary:
                _, values = cv2.connectedComponents((values > 0).astype(np.uint8))
                parts = _parts(values, mask)
            else:
                parts = _parts(values, mask)
            photo.objects += [Object(CLASS, crop=Crop(part)) for part in parts if part.any()]
        if binary:
            found.assumed["masks of two values, whose connected parts are taken as objects"] += 1
        found.photos.append(photo)
    missing = len(sources) - sum(map(len, by_photo.values()))
    if missing:
        found.assumed["masks without a photo, left out"] += missing
    return found


def _masks_of(photos: list[Path], masks: list[Path]) -> dict[Path, list[Path]]:
    """Masks of each photo: those of its name, or those next to a folder with it alone."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    by_place: dict[Path, list[Path]] = defaultdict(list)
    for path in photos:
        by_stem[path.stem.lower()].append(path)
        by_place[path.parent.parent].append(path)
    found: dict[Path, list[Path]] = defaultdict(list)
    for mask in masks:
        stem = mask.stem.lower()
        named = by_stem.get(stem) or by_stem.get(_SUFFIX.sub("", stem)) or []
        if len(named) > 1:
            split = split_of(mask.parts[:-1])
            named = [path for path in named if split_of(path.parts[:-1]) == split]
        alone = by_place.get(mask.parent.parent, [])
        if len(named) == 1:
            found[named[0]].append(mask)
        elif not named and len(alone) == 1:
            found[alone[0]].append(mask)
        elif len(named) > 1:
            raise UserError(f"mask {mask} can be that of {named[0]} or of {named[1]}.")
    return found


def _read(path: Path) -> np.ndarray:
    """Values (H, W) of a mask; colors that differ are values that differ."""
    try:
        with Image.open(path) as image:
            if image.mode in ("RGB", "RGBA"):
                return np.asarray(image.convert("RGB")).astype(np.int64) @ [65536, 256, 1]
            if image.mode in ("LA", "PA"):
                image = image.convert("L")
            return np.asarray(image).astype(np.int64)
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise UserError(f"mask {path} cannot be read: {str(error)[:100]}.") from error


def _is_binary(path: Path) -> bool:
    return set(np.unique(_read(path)).tolist()) in ({0, 1}, {0, 255}, {0, 0xFFFFFF}, {0})


def _parts(values: np.ndarray, path: Path) -> list[np.ndarray]:
    numbers = np.unique(values)
    if len(numbers) > MOST_OBJECTS:
        raise UserError(f"{path} has {len(numbers)} values: it is a photo, no image of objects.")
    return [values == number for number in numbers if number != 0]
