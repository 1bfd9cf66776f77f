"""A folder of annotated photos as COCO files in the user's cache, made once.

They are found by what the folder holds: the content of annotation files, and name, size and time of
images. Processes that start at once wait for the first one. The cache is that of annotation files
(:mod:`mmdet_maskr.coco.index.cache`), whose variable ``MMDET_MASKR_CACHE`` holds here, too; without
one, each process has files of its own until it ends.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_maskr import checksums
from mmdet_maskr.atomic_files import partial_of, write_whole
from mmdet_maskr.coco.index import cache
from mmdet_maskr.datasets.formats.images import files_below
from mmdet_maskr.datasets.formats.keypoint_names import metainfo_of
from mmdet_maskr.datasets.formats.recognition import read_folder
from mmdet_maskr.datasets.formats.records import Collection
from mmdet_maskr.datasets.formats.splits import VAL_SHARE, assign_folds, assign_splits, leaks
from mmdet_maskr.datasets.formats.write import ANN_FILE, write_annotations
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.inputs import SUFFIXES

VERSION = 3  # of what is written
_SUMMARY = "summary.json"


@dataclass(frozen=True)
class Reading:
    """How a folder is read.

    Attributes:
        kind: a key of FORMATS; None where the folder tells.
        val_share: of the photos, to validate, where the folder has no split.
        seed: of the split.
        folds: number of folds; 0 for a single split.
        fold: which of them validates, from 0.
        val_root: another folder, all of whose photos validate, while all of this one train.
    """

    kind: str | None = None
    val_share: float = VAL_SHARE
    seed: int = 0
    folds: int = 0
    fold: int = 0
    val_root: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise UserError(f"val_share={self.val_share} must be between 0 and 1.")
        if self.folds and not 0 <= self.fold < self.folds:
            raise UserError(
                f"fold={self.fold} of folds={self.folds}: fold must be from 0 to folds - 1."
            )
        if self.folds and self.val_root is not None:
            raise UserError(
                "folds and val_root both choose the validation set: leave one of them out."
            )


class Prepared(NamedTuple):
    """What was made of a folder.

    Attributes:
        root: folder that the ``file_name`` of images start from.
        files: COCO file of each split that there is.
        digest: of the folder's content and of how it was read.
        summary: ``format``, ``source``, ``classes``, ``assumed`` (pairs of text and count),
            ``leaks`` (pairs of paths), ``keypoints`` (metainfo, or None), ``unreadable`` (pairs of
            a photo's path and the reason).
    """

    root: Path
    files: dict[str, Path]
    digest: str
    summary: dict[str, Any]


def prepare(path: str | Path, reading: Reading | None = None) -> Prepared:
    """Read a folder, or find what was made of it before.

    Args:
        path: of a folder with photos anywhere below it, or of one annotation file.
        reading: how.

    Raises:
        UserError: what reading, splitting and writing find.
    """
    path, reading = Path(path), reading or Reading()
    digest = digest_of(path, reading)
    kept = cache.folder()
    try:
        if kept is None:
            raise PermissionError
        (kept / "folders").mkdir(parents=True, exist_ok=True)
        place = kept / "folders" / digest[:40]
        tempfile.TemporaryFile(dir=place.parent).close()
    except OSError:
        place = Path(tempfile.mkdtemp(prefix="mmdet_maskr-")) / digest[:40]
        atexit.register(shutil.rmtree, place.parent, ignore_errors=True)
    with cache.alone(place):
        if not (place / _SUMMARY).is_file():
            _write(path, reading, place)
    summary = json.loads((place / _SUMMARY).read_text(encoding="utf-8"))
    files = {split: place / ANN_FILE.format(split=split) for split in summary["splits"]}
    return Prepared(Path(summary["root"]), files, digest, summary)


def digest_of(path: Path, reading: Reading) -> str:
    """Digest of what a folder holds and of how it is read; changes where the result could.

    Raises:
        UserError: nothing is there.
    """
    found = hashlib.sha256(json.dumps([VERSION, asdict(reading)]).encode())
    roots = [path] if reading.val_root is None else [path, Path(reading.val_root)]
    for root in roots:
        if not root.exists():
            raise UserError(f"there is no folder or annotation file {root.absolute()}.")
        place = root.parent if root.is_file() else root
        found.update(os.fsencode(root.absolute()))
        for file in files_below(place):
            found.update(os.fsencode(file.relative_to(place)))
            try:
                if file.suffix.lower() in SUFFIXES:
                    state = file.stat()
                    found.update(f"{state.st_size} {state.st_mtime_ns}".encode())
                elif root.is_dir() or file == root:
                    found.update(checksums.digest_of(file).encode())
            except OSError as error:
                raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    return found.hexdigest()


def _write(path: Path, reading: Reading, place: Path) -> None:
    collection = _collected(path, reading)
    found = leaks(collection.photos)
    partial = partial_of(place)
    try:
        written = write_annotations(collection, partial)
        summary = dict(
            root=str(collection.root.absolute()),
            splits=[part.split for part in written],
            format=collection.format,
            source=collection.source,
            classes=collection.classes,
            keypoints=metainfo_of(collection),
            assumed=collection.assumed.most_common(),
            unreadable=[[str(photo), why] for photo, why in collection.unreadable.items()],
            leaks=[[str(train), str(other)] for train, other in found],
        )
        write_whole(partial / _SUMMARY, json.dumps(summary), durable=False)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _collected(path: Path, reading: Reading) -> Collection:
    """All photos, each with a split."""
    collection = read_folder(path, reading.kind)
    if reading.val_root is not None:
        return _joined(collection, read_folder(reading.val_root, reading.kind))
    if reading.folds:
        assign_folds(collection, reading.folds, reading.fold, reading.seed)
    else:
        assign_splits(collection, reading.val_share, reading.seed)
    return collection


def _joined(train: Collection, val: Collection) -> Collection:
    for collection, split in ((train, "train"), (val, "val")):
        for photo in collection.photos:
            photo.split = split
    only = [name for name in val.classes if name not in train.classes]
    _say_classes(val, only, "that validates, of classes that do not train, left out")
    for photo in val.photos:
        photo.objects = [item for item in photo.objects if item.label in train.classes]
    for name in set(train.keypoints) & set(val.keypoints):
        if train.keypoints[name] != val.keypoints[name]:
            raise UserError(f"{val.source} has other keypoints for {name!r} than {train.source}.")
    places = [collection.root.absolute() for collection in (train, val)]
    try:
        train.root = Path(os.path.commonpath(places))
    except ValueError as error:  # two drives
        raise UserError(f"{places[0]} and {places[1]} must be on one drive.") from error
    train.photos += val.photos
    train.assumed += val.assumed
    train.unreadable |= val.unreadable
    return train


def _say_classes(collection: Collection, names: Sequence[str], what: str) -> None:
    count = sum(item.label in names for photo in collection.photos for item in photo.objects)
    if count:
        collection.assumed[f"objects {what} ({', '.join(names[:5])})"] += count
