"""Files of others are data: no YAML, pickle or downloaded checkpoint runs code while it is read.

mmengine reads YAML with PyYAML's full loader and .pkl files with pickle, both of which call
whatever the file names, and loads checkpoints from URLs with ``weights_only=False``. Its configs in
Python are programs and remain so: read those of strangers before you use them.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Callable
from typing import Any

from mmdet_maskr.errors import UnsafeCheckpointError, UserError

# What arrays and tensors need; numpy 1 and 2 spell the module differently.
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "complex"),
    ("builtins", "slice"),
    ("builtins", "bytes"),
    ("builtins", "bytearray"),
    ("_codecs", "encode"),  # bytes in protocol 2
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
    ("torch", "Size"),
    ("torch._utils", "_rebuild_tensor_v2"),
}


class _DataUnpickler(pickle.Unpickler):
    """Gives containers, numbers, texts, numpy arrays and torch tensors, and nothing that acts."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage_from_bytes
        # the name that protocols before 3 use
        if ("builtins" if module == "__builtin__" else module, name) not in _ALLOWED:
            raise UnsafeCheckpointError(
                f"the file was refused: it asks for {module}.{name}, and loading it could run "
                "code. Only containers, numbers, texts, arrays and tensors are read."
            )
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafeCheckpointError(
            f"the file was refused: it refers to something outside of it ({pid!r})."
        )


def _storage_from_bytes(content: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(content), weights_only=True)


def load_pickle(file: Any, **kwargs) -> Any:
    """Read plain data from an open pickle file.

    Args:
        file: open for reading bytes.
        **kwargs: pickle.Unpickler's.

    Raises:
        UserError: the file is damaged.
        UnsafeCheckpointError: it asks for anything else than data.
    """
    try:
        return _DataUnpickler(file, **kwargs).load()
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # damaged pickles end in errors of many types
        raise UserError(f"the file is no pickle, or damaged ({error}).") from error


def apply() -> None:
    """Let mmengine read YAML, pickles and downloads as data; the package's import calls this.

    Raises:
        UserError: later, by these readers: files that are damaged or hold more than data.
    """
    import yaml
    from mmengine.fileio import register_handler
    from mmengine.fileio.handlers import PickleHandler, YamlHandler

    safe_loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    @register_handler(["yaml", "yml"])
    class SafeYamlHandler(YamlHandler):
        def load_from_fileobj(self, file: Any, **kwargs) -> Any:
            try:
                return yaml.load(file, Loader=safe_loader)
            except (yaml.YAMLError, RecursionError) as error:
                raise UserError(f"the file is no YAML of plain data: {error}.") from error

    @register_handler(["pickle", "pkl"])
    class SafePickleHandler(PickleHandler):
        def load_from_fileobj(self, file: Any, **kwargs) -> Any:
            return load_pickle(file, **kwargs)

    checkpoint: Any = importlib.import_module("mmengine.runner.checkpoint")
    checkpoint.load_url = _weights_only(checkpoint.load_url)


def _weights_only(load_url: Callable[..., dict]) -> Callable[..., dict]:
    def load(url: str, **kwargs) -> dict:
        """Download a checkpoint (or take it from the cache) and load it as plain data."""
        try:
            return load_url(url, weights_only=True, **kwargs)
        except pickle.UnpicklingError as error:
            first = str(error).splitlines()[0]
            raise UserError(
                f"checkpoint {url} was refused: it is damaged, or holds more than weights, and "
                f"loading it could run code ({first[:200]})."
            ) from error

    return load
