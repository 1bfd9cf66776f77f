"""Reads checkpoints of other codebases without executing anything in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmdet_maskr.engine.batch_file import check_content
from mmdet_maskr.errors import UserError
from mmdet_maskr.safe_pickle import load_pickle

# In the order in which they are looked for; a file without any of them is a state dict itself.
STATE_KEYS = ("state_dict", "model")


def load_file(path: str | Path) -> dict:
    """A checkpoint file: ``.pkl`` of numpy arrays (Detectron2's model zoo), or one of torch.

    Raises:
        UserError: no such file, a damaged one, or not a dictionary.
        UnsafeCheckpointError: the file holds more than arrays, tensors and plain containers.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}.")
    if path.suffix in (".pkl", ".pickle"):
        loaded = _load_pickle(path)
    else:
        loaded = CheckpointLoader.load_checkpoint(str(path), map_location="cpu", logger="silent")
    if not isinstance(loaded, Mapping):
        raise UserError(f"checkpoint {path} contains a {type(loaded).__name__}, not a dictionary.")
    return dict(loaded)


def foreign_state_dict(checkpoint: dict, path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name.

    Raises:
        UserError: there are none, or values that are no numeric arrays.
    """
    state = next((checkpoint[key] for key in STATE_KEYS if key in checkpoint), checkpoint)
    tensors = {}
    if isinstance(state, Mapping):
        for name, value in state.items():
            if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
                # torch has no tensors of the other byte order
                native = np.array(value, dtype=value.dtype.newbyteorder("="))
                tensors[name] = torch.from_numpy(native)
            elif isinstance(value, Tensor):
                check_content(value, f"checkpoint {path}: {name}")
                tensors[name] = value.detach()
            elif state is not checkpoint:
                raise UserError(
                    f"checkpoint {path}: {name} is a {type(value).__name__}, not an array of "
                    "numbers."
                )
    if not tensors:
        raise UserError(f"checkpoint {path} contains no weights.")
    return tensors


def _load_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return load_pickle(file, encoding="latin1")
    except UserError as error:
        raise type(error)(f"checkpoint {path} cannot be read: {error}") from error
