"""Checks that output folders can be written, before the work starts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mmdet_maskr.errors import UserError


def as_path(value: object, option: str) -> Path:
    """A path that the file system can have.

    Args:
        value: as it was given.
        option: what it is the value of, for messages.

    Raises:
        UserError: it is no path.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise UserError(f"{option} is of type {type(value).__name__}: it must be a path.")
    path = Path(os.fsdecode(value))
    try:
        encoded = os.fsencode(path)
    except UnicodeError:
        encoded = b"\0"
    if b"\0" in encoded or len(encoded) > 4000 or any(len(p) > 255 for p in encoded.split(b"/")):
        raise UserError(f"{option}={str(path)[:80]!r}: this is not a valid file name.")
    return path


def check_writable(folder: Path, option: str) -> None:
    """Make a folder, and check that files can be written to it.

    Args:
        folder: that is meant.
        option: what it is the value of, for messages.

    Raises:
        UserError: it cannot be.
    """
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(folder.absolute()).decode(errors="backslashreplace")
        raise UserError(
            f"{option}: {shown} is not UTF-8, which logs and checkpoints need: choose "
            "another folder."
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{option}: the folder {folder.absolute()} cannot be written: "
            f"{error.strerror}. Choose another one."
        ) from error


def check_new_file(path: Path, option: str) -> None:
    """The same for a file, which is then not yet written.

    Raises:
        UserError: its folder cannot be written, or a folder has its name.
    """
    check_writable(path.parent, option)
    try:
        is_folder = path.is_dir()
        if path.is_file() and not os.access(path, os.W_OK):
            raise UserError(f"{option}: the file {path} is not writable.")
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be written: {error.strerror}.") from error
    if is_folder:
        raise UserError(f"{option}: {path} is a folder: pass a file name.")
