"""A folder for the readers of formats: its files, with each JSON, XML or YAML parsed once."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from mmdet_maskr.data_files import read_json, read_text
from mmdet_maskr.datasets.formats.images import ImageIndex, files_below, size_of, why_unreadable
from mmdet_maskr.datasets.formats.records import Collection, Photo
from mmdet_maskr.errors import UserError

LEVELS_UP = 2  # where the images of a single annotation file are looked for


class Folder:
    """Files of a folder, or one annotation file and the images around it.

    Args:
        path: of a folder or of an annotation file.

    Raises:
        UserError: nothing is there, or a folder that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parsed: dict[Path, Any] = {}
        try:
            if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
                path = self.path = path.parent  # data.yaml of a YOLO folder
            if path.is_file():
                self.root, self.files = path.parent, [path]
            elif path.is_dir():
                self.root, self.files = path, files_below(path)
            else:
                raise UserError(f"there is no folder or annotation file {path.absolute()}.")
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error

    @cached_property
    def images(self) -> ImageIndex:
        """The images below it; of a single file those of its folder, or of one above."""
        if not self.path.is_file():
            return ImageIndex(self.root, self.files)
        place = self.root.absolute()
        for _ in range(LEVELS_UP + 1):
            index = ImageIndex(place, files_below(place))
            if index.images or place == place.parent:
                break
            place = place.parent
        return index

    def of_kind(self, *suffixes: str) -> list[Path]:
        """Files with one of the suffixes, such as '.json'."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def json(self, path: Path) -> Any:
        """Values of a JSON file, None where it is none.

        A file with one value a line, as Labelbox writes, gives the list of them.
        """
        if path not in self._parsed:
            try:
                self._parsed[path] = read_json(path, "annotation file")
            except UserError:
                self._parsed[path] = _lines_of(path)
        return self._parsed[path]

    def xml(self, path: Path) -> ElementTree.Element | None:
        """Root of an XML file, None where it is none. Entities of its own are not expanded."""
        if path not in self._parsed:
            self._parsed[path] = None
            try:
                text = read_text(path, "annotation file")
                if not re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
                    self._parsed[path] = ElementTree.fromstring(text)
            except (UserError, ElementTree.ParseError):
                pass
        return self._parsed[path]

    def photo(
        self,
        found: Collection,
        name: str,
        near: Path,
        size: tuple[Any, Any] = (None, None),
        split: str | None = None,
    ) -> Photo | None:
        """A photo of a name that an annotation file gives; None, and counted, where there is none.

        Args:
            found: the photo is added to its photos.
            name: of the image.
            near: folder of the annotation file.
            size: width and height by the annotation file, of which the image's own are better.
            split: that the annotation file is of.
        """
        path = self.images.find(name, near, split)
        if path is None:
            found.assumed["annotated images that are not there, left out"] += 1
            return None
        if not is_readable(found, path):
            return None
        width, height = size_of(path)
        stated = tuple(int(float(side)) if side else None for side in size)
        if None not in stated and stated != (width, height):
            if stated == (height, width):
                raise UserError(
                    f"image {path} is {width} x {height} pixels, but was annotated as "
                    f"{stated[0]} x {stated[1]}: the annotation tool and OpenCV treat its EXIF "
                    "rotation differently. Save the image upright, without EXIF rotation."
                )
            raise UserError(
                f"image {path} is {width} x {height} pixels, but was annotated as {stated[0]} x "
                f"{stated[1]}: use the images that were annotated."
            )
        photo = Photo(path, width=width, height=height)
        found.photos.append(photo)
        return photo


def is_readable(found: Collection, path: Path) -> bool:
    """Whether a photo can be decoded to its end; one that cannot is noted, and left out."""
    reason = found.unreadable.get(path) or why_unreadable(path)
    if reason is not None:
        if path not in found.unreadable:
            found.assumed["photos that cannot be decoded to their end, left out"] += 1
        found.unreadable[path] = reason
    return reason is None


def _lines_of(path: Path) -> list | None:
    try:
        lines = [line for line in read_text(path, "annotation file").splitlines() if line.strip()]
        if len(lines) < 2 or not lines[0].lstrip().startswith("{"):
            return None
        return [json.loads(line) for line in lines]
    except (UserError, ValueError, RecursionError):
        return None


@contextmanager
def reading(path: Path, tool: str) -> Iterator[None]:
    """Turn what a damaged file raises into an error that names it.

    Raises:
        UserError: instead of errors of missing keys, wrong types and values.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}"[:120]
        raise UserError(f"{path} is not a file written by {tool} ({what}).") from error
