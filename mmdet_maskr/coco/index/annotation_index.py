"""The annotations of a file, in arrays that all processes of a machine share."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmdet_maskr import atomic_files
from mmdet_maskr.coco.check.essentials import check_essentials
from mmdet_maskr.coco.index import cache, storage
from mmdet_maskr.coco.index.build import Built, build, give_back
from mmdet_maskr.coco.index.columns import Arrays, Flag
from mmdet_maskr.coco.index.fast_json import loads
from mmdet_maskr.coco.parsing import check_sections, parse_annotations


class AnnotationIndex:
    """Images and annotations of a COCO file, made of arrays when they are asked for.

    Rows are positions in the file's ``images``, numbers are positions in its ``annotations``.
    Numbers of boxes, areas and polygons are floats, which the file may have as integers, and those
    of keypoints integers where all of an annotation's are whole; all other values are as in the
    file, and so is their order.

    Args:
        path: of the annotation file.
        built: what it holds.
        place: of the file that the arrays are mapped from; None where they are in memory.
    """

    def __init__(self, path: Path, built: Built, place: Path | None = None) -> None:
        self.path, self.place = path, place
        self.arrays: Arrays = built.arrays
        self.facts = built.facts

    def __reduce__(self) -> tuple:
        """By name, so that each process maps the file itself; whole where there is none."""
        if self.place is None:
            return AnnotationIndex, (self.path, Built(self.arrays, self.facts))
        return _again, (self.path, self.place)

    def __deepcopy__(self, memo: dict) -> AnnotationIndex:
        """Itself: nothing in it changes."""
        return self

    @property
    def num_images(self) -> int:
        """I, entries of ``images``."""
        return len(self.arrays["width"])

    @property
    def num_annotations(self) -> int:
        """N, entries of ``annotations``."""
        return len(self.arrays["flags"])

    @property
    def has_annotations(self) -> bool:
        """Whether the file has a list of annotations, be it empty."""
        return self.facts["has_annotations"]

    @property
    def has_names(self) -> bool:
        """Whether its images have a ``file_name``; those of LVIS v1 have none."""
        return bool(np.diff(self.arrays["file_name_end"], prepend=0).all())

    @property
    def categories(self) -> list[dict]:
        """Entries of ``categories``; not to be changed."""
        return self.facts["categories"]

    @property
    def items(self) -> np.ndarray:
        """Rows of the different images: of several with one id the last, at the first's place."""
        return self.arrays["items"]

    @property
    def image_ids(self) -> np.ndarray | list:
        """(I,) int64, or a list where one is a text."""
        return self.facts["image_id"] if "image_id" in self.facts else self.arrays["image_id"]

    @property
    def ids(self) -> np.ndarray | list:
        """(N,) int64, or a list where one is a text: ids of the annotations."""
        return self.facts["id"] if "id" in self.facts else self.arrays["id"]

    @cached_property
    def category_ids(self) -> list:
        """The different category ids of annotations; ``arrays['category']`` points into it."""
        return self.facts["category_ids"]

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return storage.nbytes(self.arrays)

    def has(self, flag: int) -> np.ndarray:
        """Which annotations have one of some flags, (N,) bool."""
        return (self.arrays["flags"] & flag) != 0

    def of_categories(self, ids: Collection[Any]) -> np.ndarray:
        """Which annotations are of some categories, (N,) bool."""
        wanted = set(ids)
        chosen = np.array([i in wanted for i in self.category_ids], bool)
        return chosen[self.arrays["category"]] if len(chosen) else np.zeros(0, bool)

    def of_image(self, row: int) -> np.ndarray:
        """Numbers of an image's annotations, in the file's order."""
        ends = self.arrays["by_image_end"]
        return self.arrays["by_image"][ends[row - 1] if row else 0 : ends[row]]

    def image(self, row: int) -> dict[str, Any]:
        """An entry of ``images``."""
        name = self._text("file_name", row).decode("utf-8", "surrogatepass")
        found = dict(
            id=_item(self.image_ids, row),
            **(dict(file_name=name) if name else {}),
            width=int(self.arrays["width"][row]),
            height=int(self.arrays["height"][row]),
        )
        rest = self._text("image_rest", row)
        return {**found, **loads(rest)} if rest else found

    def annotations(self, numbers: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """Entries of ``annotations`` by their numbers (N,) in the file."""
        numbers = np.asarray(numbers, np.int64)
        arrays = self.arrays
        rows = arrays["image"][numbers].tolist()
        codes = arrays["category"][numbers].tolist()
        boxes, areas = arrays["bbox"][numbers].tolist(), arrays["area"][numbers].tolist()
        flags = arrays["flags"][numbers].tolist()
        counts = arrays["num_keypoints"][numbers].tolist()
        found = []
        for place, number in enumerate(numbers.tolist()):
            row, own = rows[place], flags[place]
            image_id = _item(self.image_ids, row) if row >= 0 else self.facts["strangers"][-1 - row]
            entry = dict(
                id=_item(self.ids, number),
                image_id=image_id,
                category_id=self.category_ids[codes[place]],
                bbox=boxes[place],
                area=areas[place],
            )
            if own & Flag.CROWD_GIVEN:
                entry["iscrowd"] = own & 1
            if own & Flag.IGNORE_GIVEN:
                entry["ignore"] = int(bool(own & Flag.IGNORE))
            if own & _MASKS:
                entry["segmentation"] = self.mask(number)
            if counts[place] >= 0:
                entry["num_keypoints"] = counts[place]
            keypoints = self._part("keypoint", number)
            if keypoints.stop > keypoints.start:
                entry["keypoints"] = _whole(arrays["keypoints"][keypoints]).tolist()
            rest = self._text("rest", number)
            found.append({**entry, **loads(rest)} if rest else entry)
        return found

    def rest(self, number: int) -> dict[str, Any]:
        """Fields of an annotation that have no array."""
        text = self._text("rest", number)
        return loads(text) if text else {}

    def mask(self, number: int) -> list | dict | None:
        """An annotation's ``segmentation``, where it has one."""
        flags = int(self.arrays["flags"][number])
        if flags & Flag.POLYGONS:
            return [polygon.tolist() for polygon in self.polygons(number)]
        if flags & Flag.OTHER_MASK:
            return loads(self._text("rest", number))["segmentation"]
        if not flags & (Flag.RLE_TEXT | Flag.RLE_LIST):
            return None
        place = int(np.searchsorted(self._codes, number))
        size = self.arrays["rle_size"][place].tolist()
        if flags & Flag.RLE_TEXT:
            return dict(size=size, counts=self._text("rle", place).decode())
        return dict(size=size, counts=self.arrays["runs"][self._part("run", place)].tolist())

    def polygons(self, number: int) -> list[np.ndarray]:
        """An annotation's polygons, (2P,) float64 each, x and y in turn."""
        arrays = self.arrays
        found = []
        parts = self._part("polygon", number)
        for part in range(parts.start, parts.stop):
            place = int(arrays["part_place"][part])
            values = slice(place, place + int(arrays["part_length"][part]))
            if arrays["part_exact"][part]:
                found.append(arrays["cents"][values] / 100)
            else:
                found.append(arrays["points"][values].copy())
        return found

    def content(self) -> dict[str, Any]:
        """The parsed file; all of it is made anew."""
        images = [self.image(row) for row in range(self.num_images)]
        found = dict(self.facts["rest"], images=images)
        if self.has_annotations:
            found["annotations"] = self.annotations(np.arange(self.num_annotations))
        return dict(found, categories=[dict(category) for category in self.categories])

    @cached_property
    def _codes(self) -> np.ndarray:
        """Numbers of the annotations with run-length codes."""
        return np.flatnonzero(self.has(Flag.RLE_TEXT | Flag.RLE_LIST))

    def _part(self, name: str, number: int) -> slice:
        ends = self.arrays[f"{name}_end"]
        return slice(int(ends[number - 1]) if number else 0, int(ends[number]))

    def _text(self, name: str, number: int) -> bytes:
        part = self._part(name, number)
        return self.arrays[f"{name}_text"][part].tobytes() if part.stop > part.start else b""


_MASKS = Flag.NULL_MASK | Flag.POLYGONS | Flag.RLE_TEXT | Flag.RLE_LIST


def open_index(
    path: str | Path, may_lack_annotations: bool = False, may_lack_names: bool = False
) -> AnnotationIndex:
    """The index of an annotation file: from the cache, or made and kept there.

    Args:
        path: of the annotation file, which is there.
        may_lack_annotations: take a file of images and categories alone, as COCO's test sets have.
        may_lack_names: take a file none of whose images has a ``file_name``, as LVIS v1.

    Raises:
        OSError: the annotation file cannot be read.
        UserError: it is no good COCO file; what :func:`.essentials.check_essentials` finds.
    """
    path, name = Path(path), str(path)
    found = _open(
        path, lambda text: parse_carefully(text, name, may_lack_annotations, may_lack_names)
    )
    if not found.has_annotations and not may_lack_annotations:
        check_sections(dict(found.facts["rest"], images=[0], categories=[0]), name)
    if not found.has_names and not may_lack_names:
        check_essentials(dict(images=[found.image(0)], categories=[], annotations=[]), name)
    return found


def parse_carefully(
    text: bytes, name: str, may_lack_annotations: bool, may_lack_names: bool = False
) -> dict[str, Any]:
    """The parsed file, each entry of which was looked at.

    Raises:
        UserError: names what is wrong with it.
    """
    content = parse_annotations(text, name, may_lack_annotations)
    looked_at = {"annotations": [], **content}
    images = content["images"]
    if may_lack_names and not any(isinstance(i, dict) and "file_name" in i for i in images):
        looked_at["images"] = [
            {**i, "file_name": "any"} if isinstance(i, dict) else i for i in images
        ]
    check_essentials(looked_at, name)
    return content


def _open(path: Path, read_carefully: Callable[[bytes], dict]) -> AnnotationIndex:
    folder = cache.folder()
    if folder is None:
        return AnnotationIndex(path, build(path.read_bytes(), read_carefully))
    digest = cache.known_digest(folder, path)
    if digest is not None:
        found = _stored(path, cache.place_of(folder, digest))
        if found is not None:
            return found
    before = cache.identity(path)
    text = path.read_bytes()
    digest = cache.digest_of(text)
    place = cache.place_of(folder, digest)
    reason = _make(folder)
    if reason is None:
        with cache.alone(place):
            found = _stored(path, place)
            if found is None:
                found, reason = _keep(path, place, build(text, read_carefully))
                give_back()
    else:
        found = AnnotationIndex(path, build(text, read_carefully))
    if reason is None:
        cache.note_digest(folder, path, digest, before)
    else:
        print_log(
            f"the index of {path} cannot be cached in {folder}: {reason}. Each process reads "
            f"the file itself. Set {cache.VARIABLE} to a writable folder, or to off.",
            logger="current",
            level=logging.WARNING,
        )
    return found


def _make(folder: Path) -> str | None:
    """Make the cache folder; why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return None if os.access(folder, os.W_OK) else "it is not writable"


def _stored(path: Path, place: Path, check: bool = True) -> AnnotationIndex | None:
    """The index that is kept, if there is a good one."""
    try:
        built = storage.read(place, check)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, storage.Unusable) as error:
        print_log(f"{place} is written again: {error}.", logger="current", level=logging.WARNING)
        return None
    cache.mark_used(place)
    return AnnotationIndex(path, built, place)


def _keep(path: Path, place: Path, built: Built) -> tuple[AnnotationIndex, str | None]:
    """The index mapped from what is written now; or in memory, and why."""
    partial = atomic_files.partial_of(place)
    cache.tidy(place.parent)
    try:
        storage.write(partial, built)
        atomic_files.give_name(partial, place)
        return AnnotationIndex(path, storage.read(place, check=False), place), None
    except (OSError, storage.Unusable) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        return AnnotationIndex(path, built), getattr(error, "strerror", None) or str(error)


def _again(path: Path, place: Path) -> AnnotationIndex:
    """The index in another process, to which it was sent by name."""
    found = _stored(path, place, check=False)
    if found is not None:
        return found
    return open_index(path, True, True)  # the index was deleted meanwhile


def _item(values: np.ndarray | list, place: int) -> Any:
    return values[place] if isinstance(values, list) else int(values[place])


def _whole(values: np.ndarray) -> np.ndarray:
    """The values as integers where all of them are whole, as COCO's keypoints are."""
    return values.astype(np.int64) if (values == np.floor(values)).all() else values
