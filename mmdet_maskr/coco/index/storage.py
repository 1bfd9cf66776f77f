"""Named arrays and metadata in one file that processes map into memory.

A file is: MAGIC, the length of its head and the head's CRC (8 bytes each, little-endian), the head
in JSON, then the arrays, each at a multiple of 64 bytes. The head has the version, the facts, and
of each array its type, shape, place and CRC. Nothing in it is run or unpickled.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_maskr.coco.index.build import Built
from mmdet_maskr.coco.index.columns import Arrays

MAGIC = b"maskrix\n"
VERSION = 1  # of this format and of what is read from a file: raise it when either changes
_TYPES = ("<i8", "<i4", "<f8", "<u2", "|u1")
_START = struct.Struct("<8sQQ")
_STEP = 64


class Unusable(Exception):
    """A stored file is none, is damaged, or of another version."""


def write(path: Path, built: Built) -> None:
    """Write a new file.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {name: np.ascontiguousarray(values) for name, values in built.arrays.items()}
    place = 0
    entries: dict[str, list[Any]] = {}
    for name, values in arrays.items():
        code = values.dtype.newbyteorder("<").str
        entries[name] = [code, list(values.shape), place, _crc(values)]
        place = _padded(place + values.nbytes)
    head = json.dumps(
        dict(version=VERSION, facts=built.facts, arrays=entries, size=place), separators=(",", ":")
    ).encode()
    begin = _padded(_START.size + len(head))
    with path.open("wb") as file:
        file.write(_START.pack(MAGIC, len(head), zlib.crc32(head)))
        file.write(head)
        for name, values in arrays.items():
            file.seek(begin + entries[name][2])
            values.astype(entries[name][0], copy=False).tofile(file)
        file.truncate(begin + place)


def read(path: Path, check: bool = True) -> Built:
    """Map a file; its arrays cannot be written to, and are in memory once for all processes.

    Args:
        path: of the file.
        check: compare all of it with its checksums, which reads it once.

    Raises:
        OSError: it cannot be read.
        Unusable: it is no such file, or damaged.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _START.size:
            raise Unusable("it is cut off")
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    magic, length, crc = _START.unpack(content[: _START.size])
    if magic != MAGIC:
        raise Unusable("it is of another kind")
    text = content[_START.size : _START.size + length] if length < size else b""
    if not text or zlib.crc32(text) != crc:
        raise Unusable("its head is damaged")
    head = json.loads(text)
    if head["version"] != VERSION:
        raise Unusable("it is of another version")
    begin = _padded(_START.size + length)
    if size != begin + head["size"]:
        raise Unusable("it is cut off")
    arrays = {name: _array(content, begin, entry) for name, entry in head["arrays"].items()}
    if check:
        for name, values in arrays.items():
            if _crc(values) != head["arrays"][name][3]:
                raise Unusable("it is damaged")
        if hasattr(content, "madvise"):
            content.madvise(mmap.MADV_DONTNEED)  # what is used comes back from the system's cache
    return Built(arrays, head["facts"])


def _array(content: mmap.mmap, begin: int, entry: list[Any]) -> np.ndarray:
    code, shape, place, _ = entry
    if code not in _TYPES:
        raise Unusable("it is of another kind")
    found = np.frombuffer(content, code, count=math.prod(shape), offset=begin + place)
    return found.reshape(shape)


def _crc(values: np.ndarray) -> int:
    return zlib.crc32(values.reshape(-1).view(np.uint8).data)


def _padded(place: int) -> int:
    return -(-place // _STEP) * _STEP


def nbytes(arrays: Arrays) -> int:
    """Bytes of arrays."""
    return sum(values.nbytes for values in arrays.values())
