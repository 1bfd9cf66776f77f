"""Checks of dataset options that mmdet would ignore or misread, each with the fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmdet_maskr.errors import UserError


def check_metainfo(metainfo: Mapping | None) -> None:
    """Refuse spellings of ``metainfo`` that mmdet 3.x would ignore or misread.

    Args:
        metainfo: the dataset's ``metainfo`` option, e.g. ``dict(classes=('cat', 'dog'))``.

    Raises:
        UserError: old keys of mmdet 2.x, a bare string that is no list file, names given twice.
    """
    if metainfo is None:
        return
    for key in ("CLASSES", "PALETTE"):
        if key in metainfo:
            raise UserError(
                f"metainfo has the key {key!r} of MMDetection 2.x, which MMDetection 3.x ignores: "
                f"write {key.lower()!r}."
            )
    classes = metainfo.get("classes")
    if classes is None:
        return
    if isinstance(classes, str):
        if Path(classes).is_file():  # mmengine reads one name a line
            return
        raise UserError(
            f"metainfo['classes'] is the bare string {classes!r}, not a tuple: write "
            f"classes=({classes!r},) for one class (with the comma), or the path of a "
            "text file with one name per line."
        )
    doubled = [name for name, count in Counter(classes).items() if count > 1]
    if doubled:
        raise UserError(f"metainfo['classes'] names {doubled} more than once: {tuple(classes)}.")


def check_filter(filter_cfg: Mapping | None, options: Sequence[str]) -> None:
    """Refuse a ``filter_cfg`` with options that the dataset lacks; mmdet ignores them.

    Args:
        filter_cfg: the dataset's option of this name.
        options: names of the options that it takes; the values are numbers, or True and False.

    Raises:
        UserError: another name, or a value that is no number from 0.
    """
    for name, value in (filter_cfg or {}).items():
        if name not in options:
            raise UserError(f"filter_cfg has {name!r}; this dataset has {tuple(options)}.")
        if not isinstance(value, (int, float)) or not value >= 0:
            raise UserError(
                f"filter_cfg has {name}={value!r}, which must be a number of at least 0."
            )


def check_image_folder(folder: str, first_image: str) -> None:
    """Check that the image folder is there and holds the first image of the annotation file.

    Args:
        folder: path of the image folder.
        first_image: path of the first image that the annotation file names.

    Raises:
        UserError: no such folder, or the image is not in it.
    """
    if folder and not Path(folder).is_dir():
        raise UserError(
            f"there is no image folder {Path(folder).absolute()}: set data_root (--data-root in "
            "maskr train and maskr test) or the dataset's data_prefix=dict(img=...)."
        )
    if not Path(first_image).is_file():
        raise UserError(
            f"the image folder {folder or '.'} lacks {first_image}, the first image of "
            "the annotation file. Is data_prefix=dict(img=...) the folder of this "
            "split?"
        )
