"""Atomic writes: a file is old, complete or absent, never half written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file, which until then stays as it was, and make its folder.

    Args:
        path: of the file.
        content: texts are written in UTF-8.
        durable: whether it is on the disk then, and outlives a power cut.

    Raises:
        OSError: as from writing, e.g. on a full disk; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        give_name(partial, path, durable)
    finally:
        partial.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """The name of a file while this thread writes it; no other process or thread has it."""
    owner = f"{os.getpid()}-{threading.get_ident()}"
    return path.with_name(f"{path.name}.{owner}{PARTIAL_SUFFIX}")


def give_name(partial: Path, path: Path, durable: bool = True) -> None:
    """Rename a file that is whole; it replaces an older one."""
    if durable:
        _flush(partial)
    os.replace(partial, path)
    if durable and os.name == "posix":  # others cannot open a folder
        _flush(path.parent)


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partials(folder: Path, pattern: str) -> None:
    """Remove what writes of files that match a pattern have left, when they were killed."""
    for path in folder.glob(f"{pattern}.*{PARTIAL_SUFFIX.lstrip('.')}"):
        path.unlink(missing_ok=True)
