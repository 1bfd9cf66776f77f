"""Reading a COCO annotation file: what it has to be before anything else is looked at.

Stock mmdet accepts most of these cases in silence and trains on no annotations, or on swapped names
(mmdetection #2942, #4241, #9381, #10675).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmdet_maskr.coco.check.crowds import Crowds, Others
from mmdet_maskr.coco.index import AnnotationIndex, open_index
from mmdet_maskr.coco.index.columns import RLE, Flag
from mmdet_maskr.coco.parsing import parse_annotations
from mmdet_maskr.errors import UserError


def read_annotations(
    path: str | Path, cure: str = ".", may_lack_annotations: bool = False
) -> dict[str, Any]:
    """Parse an annotation file; its entries are not looked at.

    Args:
        path: of the file.
        cure: end of the sentence that says that it is not there.
        may_lack_annotations: take a file of images and categories alone, as COCO's test sets have.

    Raises:
        UserError: it is missing, no JSON, nested too deeply, or no COCO instance file.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no annotation file {Path(path).absolute()}{cure}")
    content = parse_annotations(Path(path).read_bytes(), str(path), may_lack_annotations)
    content.setdefault("annotations", [])
    return content


def read_checked(
    path: str | Path,
    option: str = "ann_file",
    may_lack_annotations: bool = False,
    crowds: str = "auto",
) -> dict[str, Any]:
    """The parsed file for a training or test, which relies on the fields and types of all entries.

    Args and errors are those of :func:`checked_index`, and ``crowds``, what annotations with
    iscrowd=1 are, see :class:`.Crowds`; single objects get 0.
    """
    index = checked_index(path, option, may_lack_annotations)
    content = index.content()
    content.setdefault("annotations", [])
    found = crowds_of(index, crowds)
    for annotation in content["annotations"] if found.single else ():
        if found.is_single(annotation):
            annotation["iscrowd"] = 0
    tell_crowds(found, content["categories"], path)
    return content


def crowds_of(index: AnnotationIndex, reading: str = "auto") -> Crowds:
    """What a file's annotations with iscrowd=1 are; see :class:`.Crowds`."""
    maybe = index.has(Flag.CROWD)  # also of a text that means 0
    annotations = index.annotations(np.flatnonzero(maybe))
    crowds = Crowds(annotations, reading)
    if crowds.known:
        return crowds
    codes = index.arrays["category"][~maybe]
    counts = np.bincount(codes, minlength=len(index.category_ids)).tolist()
    total = {i: count for i, count in zip(index.category_ids, counts, strict=True) if count}
    as_of_brush = not (index.has(RLE) & ~maybe).any() and all(
        isinstance(index.rest(number).get("attributes"), Mapping)
        for number in np.flatnonzero(~maybe).tolist()
    )
    return Crowds(annotations, reading, Others(total, as_of_brush))


def tell_crowds(crowds: Crowds, categories: Sequence[dict], path: str | Path) -> None:
    """Log how many there are of each class, unless they are COCO's own, or were asked for."""
    if crowds.reading == "keep" or crowds.known:
        return
    names = {category["id"]: category["name"] for category in categories}
    level = logging.WARNING if crowds.single or crowds.doubtful else logging.INFO
    print_log(f"{path}: {crowds.told(names)}", logger="current", level=level)


def checked_index(
    path: str | Path, option: str = "ann_file", may_lack_annotations: bool = False
) -> AnnotationIndex:
    """The index of an annotation file, with entries that have the fields and types of COCO's.

    Args:
        path: of the file.
        option: of the dataset that names it, for messages.
        may_lack_annotations: as above.

    Raises:
        UserError: as above, and what :func:`.check_essentials` finds.
    """
    if not Path(path).is_file():
        raise UserError(
            f"there is no annotation file {Path(path).absolute()}: set data_root (--data-root in "
            f"maskr train and maskr test) or the dataset's {option}."
        )
    return open_index(path, may_lack_annotations)


def category_ids(
    classes: Sequence[str],
    categories: Sequence[Mapping[str, Any]],
    used: Collection[Any],
    ann_file: str,
) -> list[Any]:
    """Ids of the categories of some names: one for each name, in the order of the names.

    A subset of the file's categories is fine: annotations of the others are left out. Of entries
    with the same name the one counts that has annotations, or the first.

    Args:
        classes: class names of the dataset, in label order; empty for all of the file's.
        categories: the file's entries, with ``id`` and ``name``.
        used: category ids of the file's annotations.
        ann_file: path of the annotation file, for messages.

    Raises:
        UserError: a name that the file lacks, no name in common, or annotations of several
            categories with the same name.
    """
    by_name: dict[str, list[Any]] = {}
    for category in categories:
        ids = by_name.setdefault(category["name"], [])
        if category["id"] not in ids:
            ids.append(category["id"])
    for ids in by_name.values():
        ids[:] = [i for i in ids if i in used] or ids[:1]
    doubled = [name for name, ids in by_name.items() if len(ids) > 1]
    if doubled:
        raise UserError(
            f"{ann_file} has annotations of several categories with the same name: {doubled}. "
            "Give each category its own name, or its annotations one category_id."
        )
    _check_names(classes, list(by_name), ann_file)
    return [by_name[name][0] for name in classes or by_name]


def _check_names(classes: Sequence[str], in_file: Sequence[str], ann_file: str) -> None:
    missing = [name for name in classes if name not in set(in_file)]
    if missing and len(missing) == len(classes):
        raise UserError(
            f"none of the {len(classes)} classes of the dataset is in {ann_file}: the config has "
            f"{_shorten(classes)}, the file has {_shorten(in_file)}. Set "
            f"metainfo=dict(classes={tuple(in_file)!r}) in the dataset (and num_classes="
            f"{len(in_file)} in the heads)."
        )
    if missing:
        raise UserError(
            f"{ann_file} lacks {len(missing)} of the dataset's classes: "
            + "; ".join(_with_guess(name, in_file) for name in missing)
            + f". The file has {_shorten(in_file)}."
        )


def _with_guess(name: str, known: Sequence[str]) -> str:
    lowered = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    return f"{name!r} (did you mean {lowered[close[0]]!r}?)" if close else repr(name)


def _shorten(names: Sequence[str], limit: int = 12) -> str:
    text = ", ".join(repr(name) for name in names[:limit])
    return text + (f", ... ({len(names)} in all)" if len(names) > limit else "")
