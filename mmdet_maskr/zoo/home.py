"""Where pretrained models are cached, mirrors of their files, and how they are fetched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from mmengine.logging import print_log

from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import check_writable

HOME = "MMDET_MASKR_HOME"
MIRROR = "MMDET_MASKR_MIRROR"
OFFLINE = "MMDET_MASKR_OFFLINE"
_NO = ("", "0", "no", "off", "false")


def home() -> Path:
    """The folder: ``MMDET_MASKR_HOME``, else ``mmdet_maskr`` in XDG's folder of caches.

    Raises:
        UserError: there is no home directory.
    """
    given = os.environ.get(HOME, "").strip()
    try:
        if given:
            return Path(given).expanduser()
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError as error:
        raise UserError(f"there is no home directory: set {HOME} to a folder.") from error
    return root / "mmdet_maskr"


def download_place(name: str, file: str) -> Path:
    """Where the published file of a model lies, or is to be put by hand."""
    return home() / "downloads" / name / file


def model_folder(name: str) -> Path:
    """Where a model lies, converted."""
    return home() / "models" / name


def address(url: str) -> str:
    """Where a file is fetched from: its address, or its place on the mirror.

    A mirror has ``HOST/PATH`` of each file, as ``wget --force-directories URL`` makes it.
    """
    mirror = os.environ.get(MIRROR, "").strip().rstrip("/")
    if not mirror:
        return url
    parts = urlsplit(url)
    return f"{mirror}/{parts.hostname}{parts.path}"


def is_offline() -> bool:
    """Whether nothing is to be fetched from the net (``MMDET_MASKR_OFFLINE=1``)."""
    return os.environ.get(OFFLINE, "").strip().lower() not in _NO


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Let one process at a time make a model ready; the others wait, and then find it.

    The lock goes with the process that holds it.

    Raises:
        UserError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    folder = home() / "locks"
    check_writable(folder, HOME)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        print_log(f"another process prepares {name}; waiting for it", logger="current")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
