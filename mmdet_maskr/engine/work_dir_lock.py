"""One training at a time per work dir, because two would overwrite each other's checkpoints."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from pathlib import Path

from mmdet_maskr.errors import UserError
from mmdet_maskr.platforms import lock_file

LOCK = ".training.lock"
PATIENCE_SECONDS = 10.0  # for a training that has got its signal and is saving
_held: dict[Path, int] = {}  # by the process that holds it, which a fork is not


class WorkDirLock:
    """Holds a folder for this process until :meth:`close`, or until the process ends in any way.

    The lock is the kernel's, of a byte of ``.training.lock``: it cannot outlive its process, data
    workers do not inherit it, and NFS servers pass it on to other machines. What no lock can tell
    is whether a training on another machine has died or runs on where the file system keeps locks
    to itself; then a warning names it.

    Args:
        folder: exists.
        logger: takes the warnings.

    Raises:
        UserError: another process, or this one, trains in the folder.
    """

    def __init__(self, folder: Path, logger: logging.Logger) -> None:
        self.path = folder.resolve() / LOCK
        if _held.get(self.path) == os.getpid():
            raise UserError(
                f"this process already runs a training in {folder.absolute()}: choose another "
                "work dir."
            )
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(folder, logger)
        except BaseException:
            os.close(self._file)
            raise
        _held[self.path] = os.getpid()

    def _acquire(self, folder: Path, logger: logging.Logger) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        told = False
        while True:
            try:
                if lock_file(self._file):
                    break
            except OSError as error:
                logger.warning(
                    f"the file system of {folder.absolute()} does not support locks "
                    f"({error.strerror}): make sure that no other training uses this folder, or "
                    "they overwrite each other's checkpoints."
                )
                break
            if time.monotonic() > end:
                raise UserError(
                    f"another training ({self._owner()}) is running in {folder.absolute()}: stop "
                    "it first, or choose another folder with --work-dir."
                )
            if not told:
                logger.warning(f"waiting for another training ({self._owner()}) to end")
                told = True
            time.sleep(0.2)
        before, host = self._read(), socket.gethostname()
        if before.get("host", host) != host:
            logger.warning(
                f"{self._owner()} may still run a training in {folder.absolute()}. Locks of this "
                "file system may be invisible on other machines: make sure that it has ended, "
                "or both overwrite each other's checkpoints."
            )
        self._write(json.dumps(dict(host=host, pid=os.getpid())))

    def _owner(self) -> str:
        content = self._read()
        if not content:
            return "of an unknown process"
        return f"process {content.get('pid')} on {content.get('host')}"

    def _read(self) -> dict:
        try:
            os.lseek(self._file, 0, os.SEEK_SET)
            content = json.loads(os.read(self._file, 1000))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, text: str) -> None:
        try:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, text.encode())
        except OSError:
            return  # a full disk: the lock holds, and only its owner's name is missing

    def close(self) -> None:
        """Let others in."""
        if _held.pop(self.path, None) == os.getpid():
            self._write("")
            os.close(self._file)
