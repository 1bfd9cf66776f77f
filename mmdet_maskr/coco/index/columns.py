"""Arrays that grow piece by piece, from values of a COCO file.

A list of texts or of numbers within entries is one array and where each entry's part ends, as a
running count.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from mmdet_maskr.coco.index.sections import Doubt

Arrays = dict[str, np.ndarray]


class Flag:
    """What is known of an annotation: bits of ``flags``, plain integers for NumPy."""

    CROWD = 1
    CROWD_GIVEN = 2
    IGNORE = 4
    IGNORE_GIVEN = 8
    NULL_MASK = 16  # the field is there, and null
    POLYGONS = 32
    RLE_TEXT = 64
    RLE_LIST = 128
    OTHER_MASK = 256  # kept as JSON
    THREE_POINTS = 512  # one of the polygons has three points
    BOX_DIFFERS = 1024  # from the bounds of the mask, by check.boxes.compare


RLE = Flag.RLE_TEXT | Flag.RLE_LIST | Flag.OTHER_MASK


class Columns:
    """Arrays that grow piece by piece."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[np.ndarray]] = {}

    def add(self, **arrays: np.ndarray) -> None:
        """Add to the end of each array."""
        for name, values in arrays.items():
            self._pieces.setdefault(name, []).append(values)

    def add_texts(self, name: str, texts: Sequence[bytes]) -> None:
        """Add texts: ``NAME_text`` and ``NAME_length``."""
        if not any(texts):
            return self.add_nothing(name, len(texts))
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self.add(**{f"{name}_text": np.frombuffer(b"".join(texts), np.uint8)})
        self.add(**{f"{name}_length": lengths})

    def add_nothing(self, name: str, count: int) -> None:
        """Add texts without a letter."""
        self.add(**{f"{name}_text": np.zeros(0, np.uint8)})
        self.add(**{f"{name}_length": np.zeros(count, np.int64)})

    def joined(self) -> Arrays:
        """The arrays whole; ``NAME_length`` as ``NAME_end``. What was added is gone then."""
        found = {}
        for name in list(self._pieces):
            values = np.concatenate(self._pieces.pop(name))
            if name.endswith("_length"):
                name, values = name.removesuffix("_length") + "_end", np.cumsum(values)
            found[name] = values
        return found


class Ids:
    """Ids that grow piece by piece: numbers, and texts where a file has them."""

    def __init__(self) -> None:
        self._pieces: list[np.ndarray | list] = []

    def add(self, values: Sequence) -> None:
        """Add some.

        Raises:
            Doubt: one is no id.
        """
        kinds = types(values)
        need(kinds <= {int, str}, "ids")
        try:
            self._pieces.append(list(values) if str in kinds else np.array(values, np.int64))
        except OverflowError as error:
            raise Doubt("ids") from error

    def joined(self) -> np.ndarray | list:
        """All of them: (N,) int64, or a list where one is a text. What was added is gone then."""
        pieces, self._pieces = self._pieces, []
        if all(isinstance(piece, np.ndarray) for piece in pieces):
            return np.concatenate([np.zeros(0, np.int64), *pieces])
        return list(chain.from_iterable(map(list_of, pieces)))


def list_of(values: np.ndarray | list) -> list:
    """Values (N,) as Python's own."""
    return values.tolist() if isinstance(values, np.ndarray) else values


# ------------------------------------------------------------------------------------------ values
def need(good: bool, what: str) -> None:
    """Doubt a file where something does not hold."""
    if not good:
        raise Doubt(what)


def types(values: Iterable) -> set[type]:
    """The different types of some values."""
    return set(map(type, values))


def numbers(values: list) -> np.ndarray:
    """Numbers of sensible size, as check.values.is_number has them.

    Raises:
        Doubt: others.
    """
    need(types(values) <= {int, float}, "no numbers")
    found = floats(values)
    need(within(found, np.nextafter(1e15, 0)), "numbers out of bounds")
    return found


def floats(values: list) -> np.ndarray:
    """Numbers as float64.

    Raises:
        Doubt: other values.
    """
    try:
        return np.frombuffer(array("d", values), np.float64)
    except (TypeError, OverflowError) as error:
        raise Doubt("no numbers") from error


def within(values: np.ndarray, limit: float) -> bool:
    """Whether all of (N,) numbers are from ``-limit`` to ``limit``; NaN is not. No number is."""
    return not len(values) or bool(values.min() >= -limit and values.max() <= limit)
