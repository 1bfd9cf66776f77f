"""Cityscapes' folders: gtFine/SPLIT/CITY/*_instanceIds.png and leftImg8bit."""

from __future__ import annotations

from pathlib import Path

import cv2

from mmdet_maskr.datasets.cityscapes import CATEGORIES, instances_of
from mmdet_maskr.datasets.formats.folder import Folder
from mmdet_maskr.datasets.formats.records import Collection, Object, split_of
from mmdet_maskr.errors import UserError

NAME = "Cityscapes"
_ENDING = "_gtFine_instanceIds.png"


def find(folder: Folder) -> list[Path]:
    """Its label images."""
    return [path for path in folder.of_kind(".png") if path.name.endswith(_ENDING)]


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Pixels with a class alone are crowds.

    Raises:
        UserError: a label image that cannot be read.
    """
    found = Collection(NAME, classes=list(CATEGORIES.values()))
    for path in sources:
        name = path.name.replace(_ENDING, "_leftImg8bit.png")
        photo = folder.photo(found, name, path.parent)
        if photo is None:
            continue
        photo.split = split_of(path.relative_to(folder.root).parts[:-1])
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2:
            raise UserError(f"label image {path} cannot be read: it is not a PNG with one channel.")
        for annotation in instances_of(ids):
            label = CATEGORIES[annotation["category_id"]]
            crowd = bool(annotation["iscrowd"])
            photo.objects.append(Object(label, rle=annotation["segmentation"], crowd=crowd))
    return found
