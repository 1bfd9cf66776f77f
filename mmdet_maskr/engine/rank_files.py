"""Gradients that one rank alone has, in a file of its own next to the checkpoint.

In mid-accumulation each rank has gradients of its own, as large as the trainable parameters. Put
together they would take their number times that from the memory of one GPU or process. Each rank
writes ``epoch_1.pth.rank_0`` and so on instead, and reads nothing but its own.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mmdet_maskr import checkpoint_files
from mmdet_maskr.engine.durable_files import DurableBackend
from mmdet_maskr.errors import UserError

_NAME = re.compile(r"(.+\.pth)\.rank_\d+")


def file_of(checkpoint: Path, rank: int) -> Path:
    """Where the gradients of a rank are that belong to a checkpoint."""
    return checkpoint.with_name(f"{checkpoint.name}.rank_{rank}")


def write(checkpoint: Path, rank: int, gradients: dict[str, Tensor]) -> str:
    """Write the gradients of a rank durably.

    Args:
        checkpoint: path of the checkpoint that they belong to.
        rank: the rank.
        gradients: gradients by parameter name, each with the shape of its parameter (D1, D2, ...).

    Returns:
        A mark to store in the checkpoint, which tells its files from those of another checkpoint.

    Raises:
        OSError: the file cannot be written.
    """
    mark = os.urandom(8).hex()
    content = io.BytesIO()
    torch.save(dict(mark=mark, gradients=gradients), content)
    DurableBackend().put(content.getvalue(), file_of(checkpoint, rank))
    return mark


def read(checkpoint: Path, rank: int, mark: str) -> dict[str, Tensor]:
    """The gradients that :func:`write` has written for a checkpoint; on the CPU.

    Raises:
        UserError: they are missing, damaged, or of another checkpoint; says which file.
    """
    path = file_of(checkpoint, rank)
    try:
        content = checkpoint_files.read_checkpoint(str(path), "cpu")
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    if not isinstance(content, dict) or content.get("mark") != mark:
        raise UserError(f"{path} is of another checkpoint.")
    return content["gradients"]


def remove(checkpoint: Path) -> None:
    """Remove what ranks have written for a checkpoint."""
    _remove(checkpoint.parent, lambda name: name == checkpoint.name)


def remove_orphans(folder: Path) -> None:
    """Remove files of ranks whose checkpoint is not there, as a crash may leave them."""
    _remove(folder, lambda name: not (folder / name).is_file())


def _remove(folder: Path, of: Callable[[str], bool]) -> None:
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match and of(match[1]):
            DurableBackend().remove(path)
