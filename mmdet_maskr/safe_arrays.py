"""Arrays of numpy from pickles, without numpy's own ways of reading their state.

``numpy.dtype.__setstate__`` believes what a file says of a type, such as that its bytes are
addresses of Python objects. Here a file names one of a list of plain types, and of a type's state
its byte order alone is read; an array has exactly the bytes that its shape needs.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from mmdet_maskr.errors import UnsafeCheckpointError, UserError

_PLAIN = re.compile(r"[<>=|]?(\?|b1|i[1248]|u[1248]|f[248]|c(8|16)|[bBhHiIlLqQefdFD]|[SU]\d{1,9})")
MAX_DIMENSIONS = 32


class PickledType:
    """Stands for ``numpy.dtype`` while a file is read.

    Args:
        code: such as 'f4'.
        rest: whether it is aligned and copied, which says nothing here.

    Raises:
        UnsafeCheckpointError: it is no plain type of booleans, numbers or texts.
    """

    def __init__(self, code: object, *rest: object) -> None:
        if not isinstance(code, str) or not _PLAIN.fullmatch(code):
            raise UnsafeCheckpointError(
                f"the file was refused: an array's type {str(code)[:40]!r} is not one of booleans, "
                "numbers or texts, and loading others could run code."
            )
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        """Take the byte order, and nothing else."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
        if order == "<":
            self.dtype = self.dtype.newbyteorder("<")
        elif order == ">":
            self.dtype = self.dtype.newbyteorder(">")


def pickled_array(*rest: object) -> Any:
    """Stands for ``numpy.ndarray``, which a file names and must not call.

    Raises:
        UserError: it is called.
    """
    raise UserError("the file calls numpy.ndarray, which would make an array without content.")


def empty_array(*rest: object) -> np.ndarray:
    """Stands for ``numpy``'s ``_reconstruct``: an array that its state will fill."""
    return np.empty(0, np.uint8)


def empty_loaded_array(*rest: object) -> LoadedArray:
    """The same for torch's unpickler, which lets an array fill itself."""
    return LoadedArray()


def checked_state(state: object) -> tuple:
    """State of an array, as ``ndarray.__setstate__`` can be given it.

    Args:
        state: (version,) shape, type, whether columns come first, and the bytes.

    Raises:
        UserError: it is none, or has another number of bytes than its shape needs.
    """
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise UserError("the state of an array is missing.")
    shape, kind, by_columns, content = state[-4:]
    if isinstance(content, str):  # of Python 2
        content = content.encode("latin1")
    return (1, *_checked(shape, kind, content)[:2], bool(by_columns), bytes(content))


def _checked(
    shape: object, kind: object, content: object
) -> tuple[tuple[int, ...], np.dtype, bytes]:
    if not isinstance(kind, PickledType) or not isinstance(content, (bytes, bytearray)):
        raise UserError("the state of an array does not have plain numbers.")
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_DIMENSIONS
        or not all(isinstance(side, int) and 0 <= side < 1 << 48 for side in shape)
        or math.prod(shape) * kind.dtype.itemsize != len(content)
    ):
        raise UserError(
            f"an array of the shape {str(shape)[:60]} has {len(content)} bytes, not as many as it "
            "needs."
        )
    return shape, kind.dtype, bytes(content)


def scalar(kind: object, content: object = b"") -> Any:
    """Stands for ``numpy``'s ``scalar``."""
    if isinstance(content, str):
        content = content.encode("latin1")
    _, dtype, stored = _checked((), kind, content)
    return np.frombuffer(stored, dtype, count=1)[0] if dtype.itemsize else dtype.type()


def from_buffer(content: object, kind: object, shape: object, order: object = "C") -> np.ndarray:
    """Stands for ``numpy``'s ``_frombuffer``, which protocol 5 uses."""
    sides, dtype, stored = _checked(shape, kind, content)
    if not dtype.itemsize:
        return np.zeros(sides if math.prod(sides) == 0 else 0, dtype)
    flat = np.frombuffer(bytearray(stored), dtype)  # a copy that can be written to
    return flat.reshape(sides, order="F" if order == "F" else "C")


class LoadedArray(np.ndarray):
    """An array as torch's unpickler gives it; saved again, it is numpy's own."""

    __array_priority__ = -1.0  # results of numpy's functions are numpy's own

    def __new__(cls, *rest: object) -> LoadedArray:
        """Empty, for any size that a file asks for."""
        return super().__new__(cls, 0, np.uint8)

    def __setstate__(self, state: Any, /) -> None:
        """Take shape, type and content."""
        super().__setstate__(checked_state(state))

    def __reduce__(self) -> Any:
        """As numpy's own."""
        return plain(self).__reduce__()

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        """As numpy's own."""
        return plain(self).__reduce_ex__(protocol)


def plain(array: np.ndarray) -> np.ndarray:
    """The same array (H, W), or of any other shape, as numpy's own."""
    return array.view(np.ndarray)


def numpy_names() -> dict[str, Any]:
    """What pickled arrays and scalars of numpy 1 and 2 refer to, and what stands for it here."""
    found: dict[str, Any] = {"numpy.ndarray": pickled_array, "numpy.dtype": PickledType}
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray._reconstruct"] = empty_array
        found[f"{core}.multiarray.scalar"] = scalar
        found[f"{core}.numeric._frombuffer"] = from_buffer
    return found
