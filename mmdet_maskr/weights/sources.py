"""Reading checkpoints of other codebases without running anything that they carry."""

from __future__ import annotations

import _codecs
import collections
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmdet_maskr.compat import UnsafeCheckpointError, numpy_globals
from mmdet_maskr.errors import UserError

# In the order in which they are looked for; a file without any of them is a state dict itself.
STATE_KEYS = ("state_dict", "model")


def _frombuffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """numpy's own function of this name, which is not public."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and plain containers; anything else is refused.

    Raises:
        UnsafeCheckpointError: the file names another class or function.
    """

    allowed = {
        **numpy_globals(),
        "collections.OrderedDict": collections.OrderedDict,
        # how the oldest protocols write bytes, and the newest arrays
        "_codecs.encode": _codecs.encode,
        "__builtin__.bytes": bytes,
        "builtins.bytearray": bytearray,
        "numpy.core.numeric._frombuffer": _frombuffer,
        "numpy._core.numeric._frombuffer": _frombuffer,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[f"{module}.{name}"]
        except KeyError:
            raise UnsafeCheckpointError(
                f"it asks for {module}.{name}, which is neither an array nor a plain container, "
                "and loading it could run code"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafeCheckpointError(f"it refers to something outside of it ({pid!r})")


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
        raise UserError(f"checkpoint {path} holds a {type(loaded).__name__}, no dictionary.")
    return dict(loaded)


def state_dict_of(checkpoint: dict, path: str | Path) -> dict[str, Tensor]:
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
                tensors[name] = value.detach()
            elif state is not checkpoint:
                raise UserError(
                    f"checkpoint {path}: {name} is a {type(value).__name__}, no array of numbers."
                )
    if not tensors:
        raise UserError(f"checkpoint {path} holds no weights.")
    return tensors


def _load_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return ArrayUnpickler(file, encoding="latin1").load()
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(f"checkpoint {path} was refused: {error}.") from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged pickles end in errors of many types
        raise UserError(
            f"checkpoint {path} cannot be read: it is damaged, or no pickle ({error})."
        ) from error
