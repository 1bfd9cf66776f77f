"""Finds the images of a folder by the names in annotation files."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError

from mmdet_maskr.bands import read_bands
from mmdet_maskr.datasets.formats.records import split_of
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.inputs import SUFFIXES

_SKIPPED = ("work_dirs", "__pycache__", "__macosx")


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their names; hidden ones and work dirs left out."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name.lower() not in _SKIPPED
        )
        found += [Path(place) / name for name in sorted(names) if not name.startswith(".")]
    return found


# Eight digits that Label Studio gives to each file that is uploaded: 0a1b2c3d-photo.jpg
_UPLOADED = re.compile(r"(^|[/\\])[0-9a-f]{8}-(?=[^/\\]+$)")


class ImageIndex:
    """Looks images up by a file name, which may carry folders of another computer.

    Args:
        root: folder of the images.
        files: that are below it.
    """

    def __init__(self, root: Path, files: list[Path]) -> None:
        self.root = root
        self.images = [path for path in files if path.suffix.lower() in SUFFIXES]
        self._paths = set(self.images)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in self.images:
            self._by_name[path.name.lower()].append(path)
            self._by_stem[path.stem.lower()].append(path)

    def find(self, name: str, near: Path, split: str | None = None) -> Path | None:
        """The image that an annotation file means.

        In this order: the path from the file's folder; the images of that name, those first that
        agree in most folders of the name, then those in a folder of the file's split, then those
        nearest to the file; names that differ in case; those that differ in the suffix. Two that
        are as good as each other are an error. A name that none has is decoded (%20 is a blank),
        and then taken without what Label Studio puts before it when photos are uploaded.

        Args:
            name: with / or \\, relative or absolute, or a URL.
            near: folder of the annotation file.
            split: 'train', 'val' or 'test', where the annotation file is of one.

        Raises:
            UserError: several images fit as well.
        """
        text = unquote(urlsplit(name).path) if "://" in name else name
        for name in dict.fromkeys((text, unquote(text), _UPLOADED.sub(r"\1", unquote(text)))):
            found = self._find(name, near, split)
            if found is not None:
                return found
        return None

    def _find(self, text: str, near: Path, split: str | None) -> Path | None:
        wanted = PurePosixPath(text.replace("\\", "/"))
        if not wanted.name or "\0" in text:
            return None
        for place in (near, near / "images"):
            direct = place / wanted
            if not wanted.is_absolute() and ".." not in wanted.parts and direct in self._paths:
                return direct
        named = self._by_name.get(wanted.name.lower(), [])
        exact = [path for path in named if path.name == wanted.name]
        for candidates in (exact, named, self._by_stem.get(wanted.stem.lower(), [])):
            if candidates:
                return self._best(candidates, wanted, near, split)
        return None

    def _best(
        self, candidates: list[Path], wanted: PurePosixPath, near: Path, split: str | None
    ) -> Path:
        def fits(path: Path) -> tuple[int, bool, int]:
            agreeing = 0
            for ours, theirs in zip(path.parts[-2::-1], wanted.parts[-2::-1], strict=False):
                if ours.lower() != theirs.lower():
                    break
                agreeing += 1
            inside = path.relative_to(self.root).parts[:-1]
            same = split is not None and split_of(inside) == split
            return agreeing, same, len(os.path.commonpath([path.parent, near]))

        ranked = sorted(candidates, key=fits, reverse=True)
        if len(ranked) > 1 and fits(ranked[0]) == fits(ranked[1]):
            raise UserError(
                f"image {str(wanted)!r} can be {ranked[0]} or {ranked[1]}: give the images "
                "different names, or pass the folder of one of them."
            )
        return ranked[0]


_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND\xaeB`\x82"}  # of JPEG and PNG, by their start


def why_unreadable(path: Path) -> str | None:
    """Why an image cannot be decoded to its end; None if it can.

    A JPEG or PNG with the last bytes of one is believed to be whole; anything else is decoded.
    """
    try:
        with path.open("rb") as file:
            end = _ENDS.get(file.read(2))
            if end is not None:
                file.seek(-len(end), os.SEEK_END)
                if file.read() == end:
                    return None
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError as error:
        return None if _bands_of(path) is not None else str(error)[:100]
    except Exception as error:  # Pillow's decoders raise errors of many types
        return str(error)[:100]
    return None


def _bands_of(path: Path) -> tuple[int, ...] | None:
    """Height, width and bands of a TIFF that Pillow does not know, as one of many bands."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        return read_bands(path).shape
    except UserError:
        return None


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image as it is loaded, turned as its EXIF data say.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.getexif().get(ImageOps.ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
                width, height = height, width
            return width, height
    except UnidentifiedImageError as error:
        shape = _bands_of(path)
        if shape is not None:
            return shape[1], shape[0]
        raise UserError(f"image {path} cannot be read: {str(error)[:100]}.") from error
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise UserError(f"image {path} cannot be read: {str(error)[:100]}.") from error
