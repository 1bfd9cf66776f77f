"""Damaged local checkpoints are refused wherever they are read: ``load_from``, tests, inferencers.

DurableCheckpointHook leaves a SHA-256 beside each checkpoint, and torch CRCs inside of it. Nothing
else notices a flipped bit in the weights: the model would silently detect other things, or none.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_maskr.engine.durable_files import find_bad_bytes
from mmdet_maskr.errors import UserError


def checked(load: Callable[..., dict]) -> Callable[..., dict]:
    """The loader of local files, preceded by a look at the checksum, or else the file's CRCs.

    Raises:
        UserError: later, by the loader: the file is cut or damaged.
    """

    def load_checked(filename: str, map_location: Any = None) -> dict:
        """Load a local checkpoint.

        Raises:
            UserError: the file is cut, or differs from ``FILE.sha256`` beside it or its own CRCs.
        """
        path = Path(filename).expanduser()
        damage = find_bad_bytes(path) if path.is_file() else None
        if damage is not None:
            raise UserError(
                f"checkpoint {filename} is refused: {damage}. Take another one (if you have "
                f"changed the file yourself, remove its checksum {path.name}.sha256)."
            )
        try:
            return load(filename, map_location)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # torch's reader of archives seeks to where the rest of a cut file would be
            raise UserError(f"checkpoint {filename} is incomplete ({error.strerror}).") from error

    return load_checked


def apply() -> None:
    """Put the check before whatever reads local files now."""
    CheckpointLoader.register_scheme(
        prefixes="", loader=checked(CheckpointLoader._schemes[""]), force=True
    )
