"""Detects the annotation format of a folder."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from mmdet_maskr.datasets.formats import (
    cityscapes,
    coco,
    createml,
    csv_boxes,
    cvat,
    datumaro,
    label_images,
    label_studio,
    labelbox,
    labelme,
    pascal_voc,
    supervisely,
    via,
    vott,
    yolo,
)
from mmdet_maskr.datasets.formats.agreement import the_fullest
from mmdet_maskr.datasets.formats.folder import Folder
from mmdet_maskr.datasets.formats.records import Collection, Object
from mmdet_maskr.datasets.formats.tidy import tidy
from mmdet_maskr.errors import UserError

FORMATS: dict[str, ModuleType] = {
    "coco": coco,
    "yolo": yolo,
    "labelme": labelme,
    "via": via,
    "cvat": cvat,
    "voc": pascal_voc,
    "supervisely": supervisely,
    "label-studio": label_studio,
    "labelbox": labelbox,
    "vott": vott,
    "datumaro": datumaro,
    "createml": createml,
    "csv": csv_boxes,
    "cityscapes": cityscapes,
    "png": label_images,
}
# Looks at names of files alone, and so at those that another format explains.
_LAST = "png"


def read_folder(path: str | Path, kind: str | None = None) -> Collection:
    """Read the annotated photos of a folder, whichever tool annotated them.

    Args:
        path: of a folder with photos anywhere below it, or of one annotation file.
        kind: a key of FORMATS; None where the folder tells.

    Raises:
        UserError: no annotations, or several that differ (all are listed); annotations without
            their images; a file that is damaged.
    """
    path = Path(path)
    folder = Folder(path)
    if kind is not None and kind not in FORMATS:
        raise UserError(f"there is no format {kind!r}; there are {', '.join(FORMATS)}.")
    names = [kind] if kind is not None else [name for name in FORMATS if name != _LAST]
    found = {name: sources for name in names if (sources := FORMATS[name].find(folder))}
    if not found and kind is None and (sources := FORMATS[_LAST].find(folder)):
        found = {_LAST: sources}
    if not found:
        raise UserError(_nothing_found(path, folder, kind))
    each = []
    for name, sources in found.items():
        read = FORMATS[name].read(folder, sources)
        read.source = f"{read.format} ({_listed(sources)})"
        if not read.photos and read.unreadable:
            path, reason = next(iter(read.unreadable.items()))
            raise UserError(
                f"none of the {len(read.unreadable)} photos can be decoded completely, for "
                f"example {path}: {reason}."
            )
        if not read.photos:
            raise UserError(
                f"{path}: none of the images in {_listed(sources)} exists. Put the images "
                "and their annotations into the same folder."
            )
        tidy(read)
        _join_groups(read)
        each.append(read)
    best = the_fullest(each)
    best.root = folder.images.root
    return best


def _listed(paths: list[Path]) -> str:
    shown = ", ".join(map(str, paths[:2]))
    return shown + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")


def _nothing_found(path: Path, folder: Folder, kind: str | None) -> str:
    images = len(folder.images.images)
    texts = folder.of_kind(".json", ".xml", ".txt", ".yaml", ".csv", ".ndjson")
    wanted = "annotations" if kind is None else f"annotations in the format {kind}"
    known = ", ".join(module.NAME for module in FORMATS.values())
    also = f" {_listed(texts)} is in none of them." if texts and kind is None else ""
    return f"{path} has {images} images and no {wanted} ({known}).{also}"


def _join_groups(collection: Collection) -> None:
    """Objects of a photo with the same group and label become one of several parts."""
    for photo in collection.photos:
        groups: dict[tuple[str, str], int] = {}
        kept: list[Object] = []
        for item in photo.objects:
            key = (item.group or "", item.label)
            at = groups.get(key) if item.group is not None and item.crop is None else None
            if at is not None and item.polygons:
                kept[at].polygons += item.polygons
            elif at is not None and item.keypoints and kept[at].keypoints is None:
                kept[at].keypoints = item.keypoints
            else:
                if item.polygons or item.crop is not None:
                    groups.setdefault(key, len(kept))
                kept.append(item)
        photo.objects = kept
