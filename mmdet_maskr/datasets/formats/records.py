"""The common form of all annotation formats: photos, objects, and assumptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass
class Crop:
    """A mask that is known inside of a box: ``pixels`` (h, w) bool, with its corner at (x, y)."""

    pixels: np.ndarray
    x: int = 0
    y: int = 0


@dataclass
class Object:
    """One object of a photo; it has a mask, a box or keypoints, in pixels of the photo.

    Attributes:
        label: name of its class.
        polygons: parts of its mask, each a flat list x, y, x, y, ...; their union counts.
        crop: its mask as pixels, where it is no union of polygons.
        rle: its mask in COCO's run-length encoding, as a file had it.
        box: x, y, width, height; None where the mask gives it.
        keypoints: x, y, visibility of each keypoint of the class.
        crowd: whether it stands for several objects.
        group: objects of a photo with the same group and label are parts of one.
    """

    label: str
    polygons: list[list[float]] = field(default_factory=list)
    crop: Crop | None = None
    rle: dict | None = None
    box: list[float] | None = None
    keypoints: list[float] | None = None
    crowd: bool = False
    group: str | None = None


@dataclass
class Photo:
    """One image, its objects, and the split that the format puts it into (None: no split)."""

    path: Path
    objects: list[Object] = field(default_factory=list)
    split: str | None = None
    width: int | None = None
    height: int | None = None


@dataclass
class Collection:
    """All photos of a folder.

    Attributes:
        format: name of the format.
        photos: in the order of the annotations.
        classes: names, in the format's order; those that only objects name follow.
        keypoints: names of the keypoints of each class that has any.
        skeletons: pairs of keypoints, counted from 1, of each class that has any.
        assumed: what was assumed, left out or repaired, with counts.
        source: the file or folder that it was read from, for messages.
        root: the folder that all photos are below.
        unreadable: photos that are left out, as they cannot be decoded to their end, with reasons.
    """

    format: str
    photos: list[Photo] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    keypoints: dict[str, list[str]] = field(default_factory=dict)
    skeletons: dict[str, list[list[int]]] = field(default_factory=dict)
    assumed: Counter[str] = field(default_factory=Counter)
    source: str = ""
    root: Path = Path()
    unreadable: dict[Path, str] = field(default_factory=dict)

    def add_class(self, name: str) -> str:
        """Add a class unless it is known; gives the name.

        Raises:
            TypeError: it is no text, or an empty one.
        """
        if not isinstance(name, str) or not name:
            raise TypeError(f"{str(name)[:40]!r} is not the name of a class")
        if name not in self.classes:
            self.classes.append(name)
        return name


def split_of(parts: Iterable[str]) -> str | None:
    """The split that a path names: the last of its parts that is called like one."""
    for part in reversed(list(parts)):
        name = part.lower()
        if name in _SPLIT_NAMES:
            return _SPLIT_NAMES[name]
        stripped = name.rstrip("0123456789").rstrip("_-")  # train2017
        if stripped in _SPLIT_NAMES:
            return _SPLIT_NAMES[stripped]
    return None
