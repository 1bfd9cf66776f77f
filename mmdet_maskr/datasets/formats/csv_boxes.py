"""Boxes in a table: a CSV file with a row for each, as VoTT, Roboflow and TensorFlow write it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mmdet_maskr.data_files import read_text
from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, Photo, split_of

NAME = "CSV of boxes"
_COLUMNS = dict(
    image=("filename", "image", "image_path", "path", "file"),
    label=("class", "label", "name", "class_name"),
    x=("xmin", "x_min", "x1"),
    y=("ymin", "y_min", "y1"),
    x1=("xmax", "x_max", "x2"),
    y1=("ymax", "y_max", "y2"),
)


def find(folder: Folder) -> list[Path]:
    """Its CSV files, by the names of their columns."""
    return [path for path in folder.of_kind(".csv") if _columns(path)]


def _columns(path: Path) -> dict[str, str]:
    """The file's name of each column that is needed; empty where it lacks one."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = next(csv.reader([file.readline(10_000)]), [])
    except (OSError, ValueError, csv.Error):
        return {}
    by_name = {name.strip().lower(): name for name in head}
    found = {
        key: next((by_name[name] for name in names if name in by_name), None)
        for key, names in _COLUMNS.items()
    }
    return {} if None in found.values() else {key: name for key, name in found.items() if name}


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. A row with a photo alone says that it has no objects."""
    found = Collection(NAME)
    for path in sources:
        columns = _columns(path)
        split = split_of([*path.relative_to(folder.root).parts[:-1], path.stem])
        photos: dict[str, Photo | None] = {}
        with reading(path, "a tool for boxes"):
            for row in csv.DictReader(io.StringIO(read_text(path, "annotation file"))):
                name = row[columns["image"]]
                if name not in photos:
                    sides = row.get("width"), row.get("height")
                    photos[name] = folder.photo(found, name, path.parent, sides, split)
                photo = photos[name]
                label = (row[columns["label"]] or "").strip()
                if photo is None:
                    continue
                photo.split = split
                if label:
                    x, y, x1, y1 = (float(row[columns[key]]) for key in ("x", "y", "x1", "y1"))
                    photo.objects.append(Object(found.add_class(label), box=[x, y, x1 - x, y1 - y]))
    return found
