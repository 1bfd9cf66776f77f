"""Pickles as data: containers, numbers, texts, numpy arrays and torch tensors, nothing that acts.

Python's unpickler in C gives a file the memory that it asks for: ten bytes take 4 GB. The one in
Python, which this builds upon, keeps what it remembers in a dictionary. What is left to a file is
narrowed: which names it may call, what may be filled, and what may be a key.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from mmdet_maskr import safe_arrays
from mmdet_maskr.errors import UnsafeCheckpointError, UserError

_KEYS = (str, bytes, int, float, complex, bool, type(None), np.generic)
_ENCODINGS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")
SLACK = 1 << 20  # bytes that a tensor may have beyond ten times what is stored


def _bytes(content: Any = b"", encoding: str = "latin1") -> bytes:
    if isinstance(content, int):  # as many zeros
        raise UserError("the file asks for bytes that are not in it.")
    return encode(content, encoding) if isinstance(content, str) else bytes(content)


def make_bytearray(content: Any = b"", encoding: str = "latin1") -> bytearray:
    """A bytearray of what is in the file."""
    return bytearray(_bytes(content, encoding))


def encode(content: str, encoding: str = "latin1") -> bytes:
    """Bytes of protocol 2.

    Raises:
        UserError: another encoding than these have.
    """
    if encoding not in _ENCODINGS:
        raise UserError(f"the file asks for the encoding {str(encoding)[:40]!r}.")
    return content.encode(encoding)


def _check_keys(keys: Any) -> None:
    """Keys that contain others take as long to compare as their writer wants."""
    for key in keys:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, _KEYS) for part in parts):
            raise UserError("a key is neither a number nor a string.")


def _set(items: Any = ()) -> set:
    _check_keys(items)
    return set(items)


def _frozenset(items: Any = ()) -> frozenset:
    return frozenset(_set(items))


def _ordered(items: Any = ()) -> OrderedDict:
    pairs = [(key, value) for key, value in items]
    _check_keys(key for key, _ in pairs)
    return OrderedDict(pairs)


def _defaultdict(factory: Any = None, items: Any = ()) -> defaultdict:
    return defaultdict({_set: set, _frozenset: frozenset}.get(factory), _ordered(items))


def _storage_from_bytes(content: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(content), weights_only=True)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
    import torch

    check_extent(storage, offset, size, stride)
    return torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())


def check_extent(storage: Any, offset: Any, size: Any, stride: Any) -> None:
    """Check that a tensor lies in what is stored of it, and is not much larger.

    Raises:
        UserError: it does not.
    """
    numbers = (offset, *size, *stride)
    good = len(size) == len(stride) and all(isinstance(n, int) and n >= 0 for n in numbers)
    if good and 0 not in size:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        stored, count = storage._size(), math.prod(size)
        good = last < stored and count <= 10 * stored + SLACK
    if not good:
        raise UserError(f"a tensor of the size {str(tuple(size))[:60]} is not in the file.")


def _size(items: Any = ()) -> Any:
    import torch

    return torch.Size(items)


_ALLOWED: dict[str, Callable] = {
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _defaultdict,
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.complex": complex,
    "builtins.slice": slice,
    "builtins.bytes": _bytes,
    "builtins.bytearray": make_bytearray,
    "_codecs.encode": encode,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _storage_from_bytes,
    **safe_arrays.numpy_names(),
}


# Its hints lack the machine's own parts.
_Machine: Any = pickle._Unpickler


class _DataUnpickler(_Machine):
    """Reads what :data:`_ALLOWED` lists."""

    stack: list
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list]

    def find_class(self, module: str, name: str) -> Any:
        # the name that protocols before 3 use
        module = "builtins" if module == "__builtin__" else module
        if f"{module}.{name}" not in _ALLOWED:
            raise UnsafeCheckpointError(
                f"the file was refused: it asks for {module}.{name}, and loading it could run "
                "code. Only containers, numbers, texts, arrays and tensors are read."
            )
        return _ALLOWED[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafeCheckpointError(
            f"the file was refused: it refers to something outside of it ({str(pid)[:80]!r})."
        )

    def load_build(self) -> None:
        state, filled = self.stack.pop(), self.stack[-1]
        if isinstance(filled, safe_arrays.PickledType):
            filled.__setstate__(state)
        elif type(filled) is np.ndarray:
            filled.__setstate__(safe_arrays.checked_state(state))
        elif type(filled) is OrderedDict and isinstance(state, dict):
            if "_metadata" in state:  # versions of layers, in a state_dict
                filled._metadata = state["_metadata"]  # type: ignore[attr-defined]
        else:
            raise UserError(f"the file sets the state of a {type(filled).__name__}.")

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.stack.append(bytearray(self.read(size)))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise UserError(f"the file sets items of a {type(target).__name__}.")
        _check_keys(items[::2])
        target.update(zip(items[::2], items[1::2], strict=True))

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._set_items(items)

    def load_additems(self) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if not isinstance(target, set):
            raise UserError(f"the file adds items to a {type(target).__name__}.")
        _check_keys(items)
        target.update(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.stack.append(_frozenset(items))

    def load_append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise UserError(f"the file appends to a {type(target).__name__}.")
        target.extend(values)

    dispatch: dict[int, Callable] = dict(_Machine.dispatch)
    dispatch.update(
        {
            pickle.BUILD[0]: load_build,
            pickle.BYTEARRAY8[0]: load_bytearray8,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
            pickle.DICT[0]: load_dict,
            pickle.ADDITEMS[0]: load_additems,
            pickle.FROZENSET[0]: load_frozenset,
            pickle.APPEND[0]: load_append,
            pickle.APPENDS[0]: load_appends,
        }
    )


def load_pickle(file: BinaryIO, **kwargs: Any) -> Any:
    """Read plain data from an open pickle file.

    Args:
        file: open for reading bytes.
        **kwargs: pickle.Unpickler's.

    Raises:
        UserError: the file is damaged.
        UnsafeCheckpointError: it asks for anything else than data.
    """
    try:
        with _Bounded(file) as content:
            return _DataUnpickler(content, **kwargs).load()
    except (UserError, OSError):
        raise
    except Exception as error:  # damaged pickles end in errors of many types
        # torch reads tensors in the file, and wraps its reason in advice to load code
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().split("\n")[0]
        reason = reason or type(error).__name__
        raise UserError(f"the file is not a pickle, or it is damaged ({reason}).") from error


class _Bounded:
    """A file that gives no more bytes than it has, however many are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> Any:
        try:
            opened = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            opened.seek(self._file.tell())
        except (OSError, ValueError, AttributeError):  # in memory, empty, or a pipe
            return io.BytesIO(self._file.read())
        self._opened = opened
        return opened

    def __exit__(self, *error: object) -> None:
        if hasattr(self, "_opened"):
            self._opened.close()
