"""PASCAL VOC: label images of SegmentationObject and SegmentationClass, or boxes in XML alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from mmdet.datasets import VOCDataset
from PIL import Image

from mmdet_maskr.data_files import read_text
from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import SPLITS, Collection, Crop, Object, Photo, split_of
from mmdet_maskr.errors import UserError

NAME = "PASCAL VOC"
# Folders with the numbers of objects, of which a labelme of old has a PNG, and with their classes.
_CLASSES = {
    "SegmentationObject": "SegmentationClass",
    "SegmentationObjectPNG": "SegmentationClassPNG",
}
_BORDER = 255
_NO_CLASSES = ("background", "_background_", "__ignore__")
_BORDER_COLOR = (224, 224, 192)


def find(folder: Folder) -> list[Path]:
    """Label images of objects, and XML files."""
    objects = [path for path in folder.of_kind(".png") if path.parent.name in _CLASSES]
    roots = ((path, folder.xml(path)) for path in folder.of_kind(".xml"))
    return objects + [p for p, root in roots if root is not None and root.tag == "annotation"]


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read label images where there are any: those of a photo win over its boxes."""
    found = Collection(NAME)
    masked = {path.stem: path for path in sources if path.suffix.lower() == ".png"}
    colors = _label_map(folder)
    if colors:
        found.classes = [name for name in colors.values() if name not in _NO_CLASSES]
    splits = _splits(folder)
    for stem, path in masked.items():
        photo = folder.photo(found, f"{stem}.jpg", path.parent.parent / "JPEGImages")
        if photo is not None:
            photo.split = splits.get(stem) or split_of(path.relative_to(folder.root).parts[:-1])
            photo.objects = _of_label_images(path, colors, photo, found)
    for path in sources:
        if path.suffix.lower() == ".xml" and path.stem not in masked:
            with reading(path, NAME):
                _read_boxes(path, folder, splits, found)
    return found


def _read_boxes(path: Path, folder: Folder, splits: dict[str, str], found: Collection) -> None:
    root = folder.xml(path)
    assert root is not None
    name = root.findtext("filename") or f"{path.stem}.jpg"
    photo = folder.photo(found, name, path.parent)
    if photo is None:
        return
    photo.split = splits.get(path.stem) or split_of(path.relative_to(folder.root).parts[:-1])
    for entry in root.findall("object"):
        box = entry.find("bndbox")
        label = entry.findtext("name")
        if box is None or not label:
            found.assumed["objects without a box or a name, left out"] += 1
            continue
        x, y, x1, y1 = (float(box.findtext(key) or "") for key in ("xmin", "ymin", "xmax", "ymax"))
        # pixels from 1, both ends inside
        made = Object(found.add_class(label), box=[x - 1, y - 1, x1 - x + 1, y1 - y + 1])
        outline = entry.find("polygon")
        if outline is not None:
            made.polygons, made.box = [_outline(outline)], None
        photo.objects.append(made)


def _outline(polygon: Element) -> list[float]:
    """Roboflow's: x1, y1, x2, y2, ... are elements, and count pixels as those of the box do."""
    flat = []
    for number in range(1, len(polygon) // 2 + 1):
        flat += [float(polygon.findtext(f"{axis}{number}") or "") - 1 for axis in "xy"]
    return flat


def _label_map(folder: Folder) -> dict[tuple[int, int, int], str]:
    """Names by color, of the labelmap.txt of CVAT and Datumaro: ``name:r,g,b:parts:actions``.

    labelme has a class_names.txt, whose lines have VOC's colors in turn.
    """
    colors: dict[tuple[int, int, int], str] = {}
    for path in folder.of_kind(".txt"):
        if path.name not in ("labelmap.txt", "class_names.txt") or colors:
            continue
        for line in read_text(path, "label map").splitlines():
            if path.name == "class_names.txt" and line.strip():
                colors[_voc_color(len(colors))] = line.strip()
            elif line.strip() and not line.startswith("#"):
                name, color = line.split(":")[:2]
                if color:
                    red, green, blue = (int(value) for value in color.split(","))
                    colors[red, green, blue] = name
    return colors


def _voc_color(number: int) -> tuple[int, int, int]:
    """The color of a class in VOC's palette: its bits are the highest ones of red, green, blue."""
    bits = [(number >> i & 1) << 7 - i // 3 for i in range(24)]
    red, green, blue = (sum(bits[channel::3]) for channel in range(3))
    return red, green, blue


def _splits(folder: Folder) -> dict[str, str]:
    splits = {}
    for path in folder.of_kind(".txt"):
        if path.parent.parent.name == "ImageSets" and path.stem in SPLITS:
            for line in read_text(path, "list of images").splitlines():
                if line.strip():
                    splits[line.split()[0]] = path.stem
    return splits


def _of_label_images(path: Path, colors: dict, photo: Photo, found: Collection) -> list[Object]:
    """One object for each value; its class is the one of most of its pixels."""
    classes = path.parent.parent / _CLASSES[path.parent.name] / path.name
    if not classes.is_file():
        raise UserError(f"{path} has no {classes}, which has the classes of its objects.")
    numbers, _ = _values(path)
    names, palette = _values(classes)
    if numbers.shape != (photo.height, photo.width) or names.shape != numbers.shape:
        raise UserError(f"{path} and {classes} must have the size of {photo.path}.")
    made = []
    for number in np.unique(numbers):
        if number == 0 or number == _border(path):
            continue
        pixels = numbers == number
        inside = Counter(names[pixels].tolist())
        for value in (0, _border(classes)):
            inside.pop(value, None)
        if not inside:
            found.assumed["objects without a class, left out"] += 1
            continue
        label = _name_of(inside.most_common(1)[0][0], palette, colors, classes)
        made.append(Object(found.add_class(label), crop=Crop(pixels)))
    return made


def _values(path: Path) -> tuple[np.ndarray, list[int] | None]:
    """Values (H, W) of a label image, and its palette; colors become 65536 r + 256 g + b."""
    try:
        with Image.open(path) as image:
            if image.mode in ("P", "L"):
                return np.asarray(image).astype(np.int64), image.getpalette()
            rgb = np.asarray(image.convert("RGB")).astype(np.int64)
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise UserError(f"label image {path} cannot be read: {str(error)[:100]}.") from error
    return rgb @ [65536, 256, 1], None


def _border(path: Path) -> int:
    with Image.open(path) as image:
        red, green, blue = _BORDER_COLOR
        return _BORDER if image.mode in ("P", "L") else 65536 * red + 256 * green + blue


def _name_of(value: int, palette: list[int] | None, colors: dict, path: Path) -> str:
    if palette is not None and colors:
        color = tuple(palette[3 * value : 3 * value + 3])
    else:
        color = (value >> 16, value >> 8 & 255, value & 255)
    if color in colors:
        return colors[color]
    official = VOCDataset.METAINFO["classes"]
    if not colors and 0 < value <= len(official):
        return official[value - 1]
    raise UserError(f"{path} has the value {value}, but labelmap.txt has no class for it.")
