"""Durable checkpoints: files that are complete or absent, even after a crash.

A file is written by :mod:`mmdet_maskr.atomic_files`; its SHA-256 is next to it as
``FILE.sha256``, in the format of ``sha256sum --check``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmdet_maskr import checkpoint_files
from mmdet_maskr.atomic_files import remove_partials, write_whole
from mmdet_maskr.checksums import (
    CHECKSUM_SUFFIX,
    checksum_file,
    digest_of,
    find_bad_bytes,
    first_line,
)
from mmdet_maskr.errors import UserError

LAST_CHECKPOINT = "last_checkpoint"
_RESUMABLE = re.compile(r"(epoch|iter|interrupted_iter)_\d+\.pth")


@register_backend("durable")
class DurableBackend(LocalBackend):
    """mmengine's file backend for local files, with ``put`` as this module's head describes."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file and its checksum; an older file of that name stays until then."""
        path = Path(filepath)
        # A file without a checksum counts as good if it can be read whole, so at no moment does a
        # good file stand next to another one's checksum.
        checksum_file(path).unlink(missing_ok=True)
        write_whole(path, obj)
        _write_checksum(path, hashlib.sha256(obj).hexdigest())

    def remove(self, filepath: str | Path) -> None:
        """Remove a checksum and its file; the checksum first, which alone would stay for good."""
        checksum_file(Path(filepath)).unlink(missing_ok=True)
        super().remove(filepath)


def add_checksum(path: Path) -> None:
    """Write the checksum of a file that a crash has left without one."""
    if not checksum_file(path).is_file():
        _write_checksum(path, digest_of(path))


def _write_checksum(path: Path, digest: str) -> None:
    write_whole(checksum_file(path), f"{digest}  {path.name}\n".encode())


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, or None where it is whole.

    See :func:`find_bad_bytes`; without a checksum (other programs' checkpoints, or a crash just
    before it was written), the file is read as well.
    """
    if not path.is_file():
        return "it is missing"
    try:
        damage = find_bad_bytes(path)
        if damage is None and not checksum_file(path).is_file():
            if not zipfile.is_zipfile(path):
                return "it is incomplete (no archive of torch)"
            checkpoint_files.load(path, "cpu", mmap=True)
        return damage
    except Exception as error:  # torch ends in errors of many types
        return checkpoint_files.refusal(error) or f"it cannot be read ({first_line(error)})"


def has_checkpoint(work_dir: str | Path) -> bool:
    """Whether a run has saved a checkpoint in ``work_dir``, whole or not."""
    folder = Path(work_dir)
    return _named(folder) is not None or (
        folder.is_dir() and any(_RESUMABLE.fullmatch(path.name) for path in folder.iterdir())
    )


def newest_checkpoint(
    work_dir: str | Path,
    logger: logging.Logger,
    accepts: Callable[[dict], bool] | None = None,
    out_dir: str | Path | None = None,
) -> str | None:
    """Path of the newest whole checkpoint that a run in ``work_dir`` can go on from.

    That is the one that ``last_checkpoint`` names; where that is missing or damaged, the one with
    most iterations. Only the run's own folders are looked into, even if the file has another path:
    a work dir may have been moved, copied, or named from another current folder.

    Args:
        work_dir: folder with ``last_checkpoint``.
        logger: takes a warning for each damaged file.
        accepts: whether a checkpoint counts, given its content.
        out_dir: where the run writes its checkpoints, if not in ``work_dir``.

    Returns:
        The path (or the address, where ``last_checkpoint`` has one), or None where there is no
        checkpoint at all.

    Raises:
        UserError: there are checkpoints, but all of them are damaged; ``last_checkpoint`` names one
            that is not there, and there is no other.
    """
    # 1. what last_checkpoint names, looked for in the run's own folders
    folders = list(dict.fromkeys(map(Path, [work_dir, *([out_dir] if out_dir else [])])))
    pointed = _named(Path(work_dir))
    if pointed is not None and "://" in pointed:
        return pointed
    name = None if pointed is None else os.path.basename(pointed)
    named = [folder / name for folder in folders if name and os.path.isfile(folder / name)]
    damaged: list[Path] = []

    def content_of(path: Path) -> dict | None:
        damage = find_damage(path)
        if damage is None:
            content = checkpoint_files.load(path, "cpu", mmap=True)
            if isinstance(content, dict) and isinstance(content.get("meta"), dict):
                return content
            damage = "it is not a checkpoint of a training"
        damaged.append(path)
        logger.warning(f"checkpoint {path} is not used: {damage}.")
        return None

    def counts(content: dict | None) -> bool:
        return content is not None and (accepts is None or accepts(content))

    # 2. it, if it is whole
    for path in named:
        if counts(content_of(path)):
            return str(path)
    # 3. else the whole one with most iterations
    others: dict[Path, dict] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if _RESUMABLE.fullmatch(path.name) and path not in named:
                content = content_of(path)
                if content is not None and counts(content):
                    others[path] = content
    if others:
        newest = str(max(others, key=lambda path: _progress(others[path])))
        logger.warning(f"continuing from {newest} instead.")
        return newest
    # 4. there is none: an error, if files say that there should be one
    if accepts is not None:
        return None
    if damaged:
        raise UserError(
            f"every checkpoint in {work_dir} is damaged "
            f"({', '.join(p.name for p in damaged)}): move them away to start from "
            "scratch, or pass another one with --resume CHECKPOINT."
        )
    if name and not named:
        raise UserError(
            f"{Path(work_dir) / LAST_CHECKPOINT} names {(pointed or '')[:200]}, which is not "
            f"in {' or '.join(map(str, folders))}: pass it with --resume CHECKPOINT, or "
            f"remove {LAST_CHECKPOINT} to start from scratch."
        )
    return None


def _named(work_dir: Path) -> str | None:
    """What ``last_checkpoint`` says, if anything."""
    pointer = work_dir / LAST_CHECKPOINT
    return (os.fsdecode(pointer.read_bytes()).strip() or None) if pointer.is_file() else None


def _progress(checkpoint: dict) -> tuple[int, int]:
    numbers = [checkpoint["meta"].get(key) for key in ("iter", "epoch")]
    first, second = (number if isinstance(number, int) else 0 for number in numbers)
    return first, second


def remove_partial_files(folder: Path) -> None:
    """Remove what writes that were killed have left."""
    for pattern in ("*.pth", f"*.pth{CHECKSUM_SUFFIX}", LAST_CHECKPOINT):
        remove_partials(folder, pattern)
