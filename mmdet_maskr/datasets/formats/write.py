"""Writes a collection as COCO files, with or without its images."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.coco import check
from mmdet_maskr.datasets.formats.output import to_coco
from mmdet_maskr.datasets.formats.records import SPLITS, Collection, Photo
from mmdet_maskr.errors import UserError

ANN_FILE = "annotations/instances_{split}.json"
IMAGES = "images"


class Written(NamedTuple):
    """One split: its file, and how many images and annotations that has."""

    split: str
    path: Path
    images: int
    annotations: int


def write_annotations(collection: Collection, out: Path) -> list[Written]:
    """Write ``annotations/instances_{split}.json`` of each split, cleaned of errors.

    What cannot be repaired is left out, and counted in ``collection.assumed``. Each ``file_name``
    starts from ``collection.root``.

    Args:
        collection: each of its photos has a split.
        out: folder to write to.

    Raises:
        UserError: nothing would be left to train on; a photo outside of the root; a folder that
            cannot be written to.
    """
    written = []
    for split in SPLITS:
        photos = [photo for photo in collection.photos if photo.split == split]
        if not photos:
            continue
        names = {photo.path: photo_name(photo.path, collection.root) for photo in photos}
        content = to_coco(collection, photos, names)
        keypoints = bool(collection.keypoints)
        clean, log = check.cleaned(check.check_content(content, keypoints=keypoints))
        collection.assumed.update(_counted(log))
        if split == "train" and not clean["annotations"]:
            raise UserError(
                f"{collection.root} has no annotation to train on: none of "
                f"{len(content['annotations'])} can be used "
                f"({'; '.join(log[:3]) or 'the photos are without objects'})."
            )
        path = out / ANN_FILE.format(split=split)
        try:
            write_whole(path, json.dumps(clean))
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}.") from error
        written.append(Written(split, path, len(clean["images"]), len(clean["annotations"])))
    return written


def write_folder(
    collection: Collection,
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Written]:
    """Write ``annotations/`` and ``images/``: links to the same bytes where that is possible.

    Args:
        collection: each of its photos has a split.
        out: folder to write to.
        progress: called with images done and to do.

    Raises:
        UserError: as :func:`write_annotations` does; ``out`` has other images of these names.
    """
    written = write_annotations(collection, out)
    for done, photo in enumerate(collection.photos, start=1):
        put_image(photo, out / IMAGES / photo_name(photo.path, collection.root))
        progress(done, len(collection.photos))
    return written


def put_image(photo: Photo, target: Path) -> None:
    """Link a photo's file to a place, or copy it where that cannot be.

    Raises:
        UserError: the place cannot be written, or has another image.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if target.samefile(photo.path) or target.read_bytes() == photo.path.read_bytes():
                return
            raise UserError(f"{target} exists and is another image: choose an empty folder.")
        try:
            os.link(photo.path, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(photo.path, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}.") from error


def photo_name(path: Path, root: Path) -> str:
    """A photo's path from the root, with slashes.

    Raises:
        UserError: it is elsewhere.
    """
    try:
        return path.absolute().relative_to(root.absolute()).as_posix()
    except ValueError as error:
        raise UserError(f"image {path} is outside of {root}.") from error


def _counted(log: list[str]) -> Counter[str]:
    """Changes by kind: ``fixed annotation 7: box-degenerate (..)`` is of kind 'box-degenerate'."""
    counts: Counter[str] = Counter()
    for line in log:
        done = "repaired" if line.startswith("fixed") else "left out"
        code = line.partition(": ")[2].split(" (")[0].split(":")[0]
        counts[f"entries {done} ({code})"] += 1
    return counts
