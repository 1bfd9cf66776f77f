"""The cache of indexes: written atomically, found by the content of the annotation file.

The folder is ``mmdet_maskr/annotations`` in the user's cache folder (``XDG_CACHE_HOME``), or the
one that ``MMDET_MASKR_CACHE`` names; ``MMDET_MASKR_CACHE=off`` keeps nothing. All in it may be
deleted at any time.

An index is found by the SHA-256 of its annotation file and the reader's version. To hash a file of
gigabytes takes seconds, so a note is kept of each file whose hash is known: with its size, number
and times of change, which a file that was written anew cannot have kept (its ``ctime`` cannot be
set). Where the system has no such time, files are always hashed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mmdet_maskr.atomic_files import PARTIAL_SUFFIX, write_whole
from mmdet_maskr.coco.index.storage import VERSION

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

VARIABLE = "MMDET_MASKR_CACHE"
SUFFIX = ".index"
_SETTLED = 2.0  # seconds after which a second change cannot have the same time as the first
_PATIENCE = 600.0  # seconds to wait for another process that reads the same file
_UNUSED = 90 * 86400.0  # seconds after which an index is deleted


def folder() -> Path | None:
    """The cache folder; None where nothing is to be kept."""
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted.lower() in ("off", "0", "no", "false", "none"):
        return None
    if wanted:
        return Path(wanted).expanduser()
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # a user without a home
        return None
    return root / "mmdet_maskr" / "annotations"


def place_of(folder: Path, digest: str) -> Path:
    """Where the index of an annotation file is kept.

    Args:
        folder: the cache folder.
        digest: of the annotation file.
    """
    return folder / f"{digest[:40]}-{VERSION}{SUFFIX}"


def digest_of(text: bytes) -> str:
    """The digest of an annotation file's content."""
    return hashlib.sha256(text).hexdigest()


# ------------------------------------------------------------------------------------------- notes
def known_digest(folder: Path, path: Path) -> str | None:
    """The digest that was noted of a file; None where it has changed, or there is no note."""
    own = identity(path)
    if own is None:
        return None
    try:
        note = json.loads(_note_of(folder, path).read_bytes())
    except (OSError, ValueError):
        return None
    return note["digest"] if isinstance(note, dict) and note.get("file") == own else None


def note_digest(folder: Path, path: Path, digest: str, before: list | None) -> None:
    """Note the digest of a file.

    Args:
        folder: the cache folder.
        path: of the file.
        digest: of its content.
        before: :func:`identity` before it was read; nothing is noted where it is another now.
    """
    now = time.time()
    if before is None or before != identity(path) or now - max(before[3:5]) / 1e9 < _SETTLED:
        return
    with contextlib.suppress(OSError):
        note = json.dumps(dict(file=before, digest=digest))
        write_whole(_note_of(folder, path), note, durable=False)


def identity(path: Path) -> list | None:
    """What changes when a file does: device, number, size, and the times of its changes."""
    if os.name == "nt":  # ctime is that of the file's creation there
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _note_of(folder: Path, path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:40]
    return folder / f"{name}.note"


# ----------------------------------------------------------------------------------------- writing
@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Let one process at a time write an index; the others wait, and then find it.

    The lock goes with the process that holds it. Where the folder cannot have one, or a process
    holds it for ten minutes, several may write: each to a file of its own.

    Args:
        place: of the index.
    """
    if fcntl is None:
        yield
        return
    try:
        descriptor = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def tidy(folder: Path) -> None:
    """Delete what killed processes left half-written, and what nobody has used for long."""
    now = time.time()
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            age = {PARTIAL_SUFFIX: _PATIENCE, SUFFIX: _UNUSED, ".note": _UNUSED, ".lock": _UNUSED}
            with contextlib.suppress(OSError):
                if now - file.stat().st_mtime > age.get(file.suffix, float("inf")):
                    file.unlink()


def mark_used(place: Path) -> None:
    """Note that an index is in use, which :func:`tidy` looks at."""
    with contextlib.suppress(OSError):
        if time.time() - place.stat().st_mtime > 86400:
            os.utime(place)
