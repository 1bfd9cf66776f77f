"""YOLO: ``data.yaml``, ``images/`` and ``labels/``, a line for each object, in fractions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.datasets.formats.records import Collection, Object, Photo
from mmdet_maskr.datasets.formats.tracing import joined, parts_of
from mmdet_maskr.errors import UserError

IMAGES = "images/train"  # CVAT and Datumaro want a split


def write(collection: Collection, names: Mapping[Path, str], out: Path) -> Counter[str]:
    """Write the files. A line has a mask, or a box and keypoints; never both.

    Masks win where objects have both. Parts and holes of a mask are joined to one outline by lines
    without an area, as Ultralytics' own converter does.

    Raises:
        UserError: classes with different numbers of keypoints, for which the format has no place.
    """
    objects = [item for photo in collection.photos for item in photo.objects]
    masks = any(item.rle is not None for item in objects)
    data: dict = dict(train=IMAGES, names=dict(enumerate(collection.classes)))
    joints = 0
    if not masks and collection.keypoints:
        counts = {len(joints) for joints in collection.keypoints.values()}
        if len(counts) > 1:
            raise UserError(
                "YOLO needs the same number of keypoints for all classes: use coco or cvat."
            )
        joints = counts.pop()
        data["kpt_shape"] = [joints, 3]
        names_of_joints = next(iter(collection.keypoints.values()))
        data["kpt_names"] = {i: [*names_of_joints] for i in range(len(collection.classes))}
    left_out: Counter[str] = Counter()
    numbers = {name: number for number, name in enumerate(collection.classes)}
    for photo in collection.photos:
        lines = []
        for item in photo.objects:
            values = _values(item, photo, joints)
            if values:
                fractions = " ".join(f"{value:.6g}" for value in values)
                lines.append(f"{numbers[item.label]} {fractions}\n")
            left_out["keypoints of an object"] += masks and item.keypoints is not None
        path = (out / "labels" / "train" / names[photo.path]).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(lines))
    write_whole(out / "data.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return +left_out


def _values(item: Object, photo: Photo, joints: int) -> list[float]:
    assert photo.width and photo.height
    size = np.array([photo.width, photo.height])
    if item.rle is not None:
        parts = parts_of(item.rle)
        return (np.reshape(joined(parts), (-1, 2)) / size).ravel().tolist() if parts else []
    if item.box is None:
        return []
    x, y, w, h = item.box
    values = [(x + w / 2) / size[0], (y + h / 2) / size[1], w / size[0], h / size[1]]
    if joints:
        points = np.reshape(item.keypoints or [0.0] * 3 * joints, (-1, 3)) / [*size, 1]
        values += points.ravel().tolist()
    return values
