"""Writes records for annotation tools, so that people can correct them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mmdet_maskr.datasets.formats.records import Collection
from mmdet_maskr.datasets.formats.write import photo_name, put_image
from mmdet_maskr.datasets.formats.writers import coco, cvat, label_studio, labelme, yolo
from mmdet_maskr.errors import UserError

WRITERS = {
    "labelme": labelme,
    "cvat": cvat,
    "label-studio": label_studio,
    "coco": coco,
    "yolo": yolo,
}


def check_empty(out: Path) -> None:
    """Refuse a folder with files, which may be labels that someone has corrected.

    Raises:
        UserError: it has any, or is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and may have corrected labels: choose a new one.")


def write_labels(
    collection: Collection,
    out: Path,
    kind: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Counter[str]:
    """Write all photos and their objects into an empty folder.

    Objects that the format has no place for (keypoints, as a rule) are left out and counted.

    Args:
        collection: its photos have sizes; masks are compressed RLEs; what has none has a box.
        out: the folder.
        kind: a key of :data:`WRITERS`.
        progress: called with images done and to do.

    Returns:
        What was left out, with counts.

    Raises:
        UserError: the folder has files or cannot be written to; a photo outside of the root.
    """
    check_empty(out)
    names = {photo.path: photo_name(photo.path, collection.root) for photo in collection.photos}
    try:
        out.mkdir(parents=True, exist_ok=True)
        writer = WRITERS[kind]
        for done, photo in enumerate(collection.photos, start=1):
            put_image(photo, out / writer.IMAGES / names[photo.path])
            progress(done, len(collection.photos))
        return writer.write(collection, names, out)
    except OSError as error:
        raise UserError(f"{error.filename or out} cannot be written: {error.strerror}.") from error
