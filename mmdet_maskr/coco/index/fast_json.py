"""JSON by orjson if it is installed and accepts the text, otherwise by Python's reader.

Both give the same values for what both take. orjson refuses NaN, infinite numbers and halves of
characters, and reads whole numbers of more than 64 bits as floats.
"""

from __future__ import annotations

import json
from typing import Any

try:
    import orjson
except ImportError:  # no wheel for this platform
    orjson = None  # type: ignore[assignment]


def loads_strictly(text: bytes) -> Any:
    """Values of a text in JSON.

    Raises:
        ValueError: it is none, or none that the fast reader takes.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text) if orjson is None else orjson.loads(text)


def loads(text: bytes) -> Any:
    """Values of a text that :func:`dumps` wrote."""
    try:
        return loads_strictly(text)
    except ValueError:
        return json.loads(text)


def dumps(value: Any) -> bytes:
    """A value as JSON; NaN and infinite numbers are kept, which orjson would write as null."""
    if orjson is not None:
        try:
            text = orjson.dumps(value)
        except TypeError:  # whole numbers of more than 64 bits, halves of characters
            pass
        else:
            if b"null" not in text:
                return text
    return _ENCODE(value).encode()


_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
