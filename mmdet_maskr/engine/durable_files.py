"""Files that are either whole or not there: checkpoints written so that no crash can cost one.

A file is written beside its place, flushed to the disk and renamed; its SHA-256 stands beside it as
``FILE.sha256``, in the format of ``sha256sum --check``.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from mmengine.fileio import LocalBackend, register_backend

from mmdet_maskr.errors import UserError

CHECKSUM_SUFFIX = ".sha256"
PARTIAL_SUFFIX = ".partial"
LAST_CHECKPOINT = "last_checkpoint"
_RESUMABLE = re.compile(r"(epoch|iter|interrupted_iter)_\d+\.pth")


def write_durably(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, which is then on the disk; until then it stays as it was.

    Raises:
        OSError: as from writing, e.g. on a full disk; nothing is left behind then.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make renamed and removed names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM_SUFFIX)


@register_backend("durable")
class DurableBackend(LocalBackend):
    """mmengine's file backend for local files, with ``put`` as this module's head describes."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file and its checksum; an older file of that name stays until then."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file without a checksum counts as good if it can be read whole, so at no moment does a
        # good file stand beside another one's checksum.
        _checksum_file(path).unlink(missing_ok=True)
        write_durably(path, obj)
        line = f"{hashlib.sha256(obj).hexdigest()}  {path.name}\n"
        write_durably(_checksum_file(path), line.encode())

    def remove(self, filepath: str | Path) -> None:
        """Remove a file and its checksum."""
        super().remove(filepath)
        _checksum_file(Path(filepath)).unlink(missing_ok=True)


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, or None where it is whole.

    With a checksum beside it, its bytes are compared; without one (other programs' checkpoints, or
    a crash just before the checksum was written), the CRCs inside of the file are.
    """
    if not path.is_file():
        return "it is missing"
    checksum = _checksum_file(path)
    if checksum.is_file():
        expected = checksum.read_text().split(maxsplit=1)[:1]
        with path.open("rb") as file:
            actual = _digest(file)
        return None if expected == [actual] else f"its bytes differ from {checksum.name}"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f"it is incomplete ({error})"
    return None if broken is None else f"its part {broken} is damaged"


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def has_checkpoint(work_dir: str | Path) -> bool:
    """Whether a run has saved a checkpoint in ``work_dir``, whole or not."""
    folder = Path(work_dir)
    return (folder / LAST_CHECKPOINT).is_file() or (
        folder.is_dir() and any(_RESUMABLE.fullmatch(path.name) for path in folder.iterdir())
    )


def newest_checkpoint(work_dir: str | Path, logger, newer_than: float = 0.0) -> str | None:
    """Path of the newest whole checkpoint that a run in ``work_dir`` can go on from.

    That is the one that ``last_checkpoint`` names; where that is missing or damaged, the one with
    most iterations of those in the same folder.

    Args:
        work_dir: folder with ``last_checkpoint``.
        logger: takes a warning for each damaged file.
        newer_than: seconds since 1970; older files do not count.

    Returns:
        The path, or None where there is no checkpoint at all.

    Raises:
        UserError: there are checkpoints, but all of them are damaged.
    """
    pointer = Path(work_dir) / LAST_CHECKPOINT
    named = Path(pointer.read_text().strip()) if pointer.is_file() else None
    if named is not None and not named.is_file() and (Path(work_dir) / named.name).is_file():
        named = Path(work_dir) / named.name  # the folder was moved
    damaged = []

    def usable(path: Path) -> bool:
        if path.is_file() and path.stat().st_mtime < newer_than:
            return False
        damage = find_damage(path)
        if damage is not None:
            damaged.append(path)
            logger.warning(f"checkpoint {path} is not used: {damage}.")
        return damage is None

    if named is not None and usable(named):
        return str(named)
    folders = {Path(work_dir)} | ({named.parent} if named is not None else set())
    others = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if _RESUMABLE.fullmatch(path.name) and path != named and usable(path)
    ]
    if others:
        newest = str(max(others, key=_iterations))
        logger.warning(f"going on from {newest} instead.")
        return newest
    if any(path.is_file() for path in damaged):
        raise UserError(
            f"every checkpoint in {work_dir} is damaged ({', '.join(p.name for p in damaged)}): "
            "move them away to start anew, or name another one with --resume CHECKPOINT."
        )
    return None


def _iterations(path: Path) -> tuple[int, int]:
    meta = torch.load(path, map_location="cpu", weights_only=True, mmap=True).get("meta", {})
    return int(meta.get("iter", 0)), int(meta.get("epoch", 0))


def remove_partial_files(folder: Path) -> None:
    """Remove what writes that were killed have left."""
    for pattern in ("*.pth", f"*.pth{CHECKSUM_SUFFIX}", LAST_CHECKPOINT):
        for path in folder.glob(pattern + PARTIAL_SUFFIX):
            path.unlink(missing_ok=True)
