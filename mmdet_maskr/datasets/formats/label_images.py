"""Masks as images without other files: an index image per photo, or an image per object."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from mmdet_maskr.data_files import read_text
from mmdet_maskr.datasets.formats.folder import Folder, is_readable
from mmdet_maskr.datasets.formats.images import size_of
from mmdet_maskr.datasets.formats.records import Collection, Crop, Object, Photo, split_of
from mmdet_maskr.errors import UserError

NAME = "PNG masks"
CLASS = "object"  # masks alone name none
_FOLDER = re.compile(r"(.*[_-])?(masks?|labels?|instances?|annotations?|pedmasks)", re.IGNORECASE)
_PHOTOS = re.compile(r"(.*[_-])?(images?|imgs?|photos?|frames?|[a-z]+images)", re.IGNORECASE)
_SUFFIX = re.compile(
    r"([_-](cp|gt))?[_-]?(masks?|labels?|instances?|instanceids|seg)$", re.IGNORECASE
)
_NUMBER = re.compile(r"[_-](obj(ect)?)?\d+$", re.IGNORECASE)
_PREFIX = re.compile(r"^(masks?|labels?|seg|gt)[_-]", re.IGNORECASE)
_OF_PHOTO = re.compile(r"^(img|image|photo)[_-]|[_-](img|image|photo|rgb)$", re.IGNORECASE)
_KINDS = (".png", ".tif", ".tiff", ".bmp", ".gif")
_NO_CLASSES = ("background", "_background_", "void", "unlabeled", "__ignore__")
MOST_OBJECTS = 5000  # of an image


class Mask(NamedTuple):
    """An image of masks, the class that its folder names (None: no class), and names of values."""

    path: Path
    label: str | None
    names: dict[int, str]


def find(folder: Folder) -> list[Path]:
    """Images in a folder that is called like masks, or next to the photo whose name theirs has."""
    images = set(folder.of_kind(*_KINDS))
    masks = [path for path in folder.files if path in images and _in_masks(path, folder.root)]
    if not masks:
        photos = {(path.parent, name) for path in folder.images.images for name in _names_of(path)}
        masks = [
            path
            for path in folder.files
            if path in images and _bare(path) and (path.parent, _bare(path)) in photos
        ]
    return masks if any(path not in set(masks) for path in folder.images.images) else []


def _in_masks(path: Path, root: Path) -> bool:
    """Whether its folder, or the one above that, is called like masks."""
    for part in path.relative_to(root).parts[-2:-4:-1]:
        if _FOLDER.fullmatch(part):
            return True
        if _PHOTOS.fullmatch(part):
            break
    return False


def _names_of(photo: Path) -> set[str]:
    stem = photo.stem.lower()
    return {stem, _OF_PHOTO.sub("", stem)}


def _bare(mask: Path) -> str:
    """The name of a mask's photo, by its own; empty where nothing in that is as in masks' names."""
    stem = mask.stem.lower()
    bare = _PREFIX.sub("", _SUFFIX.sub("", stem))
    return bare if bare != stem else ""


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Objects are of one class, but for masks in a folder for each, or with a list.

    Raises:
        UserError: a mask that cannot be read, is of another size, or fits two photos.
    """
    found = Collection(NAME)
    masks = set(sources)
    photos = [path for path in folder.images.images if path not in masks]
    by_photo = _masks_of(photos, sources, _value_names(folder))
    listed = [mask for own in by_photo.values() for mask in own]
    for mask in listed:
        for name in mask.names.values() if mask.names else (mask.label or CLASS,):
            if name.lower() not in _NO_CLASSES:
                found.add_class(name)
    one_each = any(
        count > 1 for own in by_photo.values() for count in Counter(m.label for m in own).values()
    )
    binary = not one_each and all(_is_binary(mask.path) for mask in listed)
    for path in photos:
        if not is_readable(found, path):
            continue
        if path not in by_photo:
            found.assumed["photos without a mask, taken as without objects"] += 1
        width, height = size_of(path)
        photo = Photo(path, width=width, height=height)
        photo.split = split_of(path.relative_to(folder.root).parts[:-1])
        for mask in by_photo.get(path, ()):
            values = _read(mask.path)
            if values.shape != (height, width):
                raise UserError(
                    f"mask {mask.path} must have the size of {path}, {width} x {height}."
                )
            label = mask.label or CLASS
            if mask.names:
                photo.objects += _of_classes(values, mask)
            elif one_each:
                photo.objects += [Object(label, crop=Crop(values > 0))] if values.any() else []
            else:
                if binary:
                    _, values = cv2.connectedComponents((values > 0).astype(np.uint8))
                photo.objects += [Object(label, crop=Crop(p)) for p in _parts(values, mask.path)]
        found.photos.append(photo)
    by_parts = len(listed) if binary else sum(bool(mask.names) for mask in listed)
    if by_parts:
        what = "masks of two values" if binary else "masks of classes"
        found.assumed[f"{what}, whose connected parts are taken as objects"] += by_parts
    elif not one_each:
        found.assumed["masks, whose values are taken as an object each"] += len(listed)
    missing = len(sources) - len(listed)
    if missing:
        found.assumed["masks without a photo, left out"] += missing
    return found


def _of_classes(values: np.ndarray, mask: Mask) -> list[Object]:
    """Connected parts of the pixels of each class.

    Raises:
        UserError: a value that has no name.
    """
    made = []
    for value in np.unique(values).tolist():
        name = mask.names.get(value, "background" if value == 0 else None)
        if name is None:
            raise UserError(f"mask {mask.path} has the value {value}, which has no class name.")
        if name.lower() not in _NO_CLASSES:
            _, numbers = cv2.connectedComponents((values == value).astype(np.uint8))
            made += [Object(name, crop=Crop(part)) for part in _parts(numbers, mask.path)]
    return made


def _value_names(folder: Folder) -> dict[Path, dict[int, str]]:
    """Names of values, by the folder of a list of classes.

    Roboflow's ``_classes.csv`` has pixel values and classes; others' have ``name,r,g,b``.
    """
    found = {}
    for path in folder.of_kind(".csv"):
        rows = list(
            csv.reader(io.StringIO(read_text(path, "list of classes")), skipinitialspace=True)
        )
        head = [word.strip().lower() for word in rows[0]] if rows else []
        try:
            if head == ["pixel value", "class"]:
                names = {
                    int(value): name.strip() for value, name in (row for row in rows[1:] if row)
                }
            elif head == ["name", "r", "g", "b"]:
                names = {
                    (int(red) << 16) + (int(green) << 8) + int(blue): name.strip()
                    for name, red, green, blue in (row for row in rows[1:] if row)
                }
            else:
                continue
        except ValueError as error:
            raise UserError(f"{path} is not a list of classes: {error}.") from error
        found[path.parent] = names
    return found


def _masks_of(
    photos: list[Path], masks: list[Path], names: dict[Path, dict[int, str]]
) -> dict[Path, list[Mask]]:
    """Masks of each photo: those of its name, or those next to a folder with it alone."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    by_place: dict[Path, list[Path]] = defaultdict(list)
    for path in photos:
        for name in _names_of(path):
            by_name[name].append(path)
        by_place[path.parent.parent].append(path)
    places = {path.parent.name for path in photos}
    found: dict[Path, list[Mask]] = defaultdict(list)
    for mask in masks:
        stem, above = mask.stem.lower(), mask.parent.name
        counted = _NUMBER.sub("", stem)
        candidates = (stem, _bare(mask), counted, _SUFFIX.sub("", counted), above.lower())
        named = next((by_name[name] for name in candidates if name in by_name), [])
        if len(named) > 1:
            split = split_of(mask.parts[:-1])
            near = [path for path in named if path.parent == mask.parent]
            named = near or [path for path in named if split_of(path.parts[:-1]) == split]
        alone = by_place.get(mask.parent.parent, [])
        if len(named) > 1:
            raise UserError(f"mask {mask} can belong to {named[0]} or to {named[1]}.")
        photo = named[0] if named else alone[0] if len(alone) == 1 else None
        if photo is None:
            continue
        inside = _FOLDER.fullmatch(mask.parent.parent.name) and not _FOLDER.fullmatch(above)
        no_class = above in places or split_of([above]) or above.lower() in _names_of(photo)
        listed = names.get(mask.parent) or (next(iter(names.values())) if len(names) == 1 else {})
        found[photo].append(Mask(mask, above if inside and not no_class else None, listed))
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
        raise UserError(f"{path} has {len(numbers)} values, so it is a photo and not a mask.")
    return [values == number for number in numbers if number != 0]
