"""The lists of a COCO file, parsed piece by piece, so that one piece is in memory at a time.

A list of objects is cut where one ends and the next begins: at ``}, {``. Such a text may also stand
within an object, but what begins at an object of the list and parses as a whole list has ended at
one: a text that is cut inside of a string or of a bracket does not parse. So the parser proves each
cut, and a wrong guess costs time alone.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmdet_maskr.coco.index.fast_json import loads_strictly

PIECE = 4 << 20  # bytes that are parsed at once
_GUESSES = 8
_BLANK = re.compile(rb"[ \t\n\r]*")
_KEY = re.compile(rb'[ \t\n\r]*("(?:[^"\\]|\\.)*")[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_BETWEEN = re.compile(rb"\}[ \t\n\r]*,[ \t\n\r]*\{")
_LAST = re.compile(rb"\}[ \t\n\r]*\]")
_AFTER = re.compile(rb"[ \t\n\r]*([,}\]])")
_DECODER = json.JSONDecoder()


class Doubt(Exception):
    """The fast way does not know what to make of a file; the careful one has to look at it."""


class Piece(NamedTuple):
    """Some values of a file's top level: all of ``key``'s, or some entries of its list."""

    key: str
    value: Any
    in_list: bool


def pieces(text: bytes, size: int = PIECE) -> Iterator[Piece]:
    """Values of the object that a text in JSON holds, in order; long lists in several pieces.

    Args:
        text: UTF-8.
        size: of a piece of a list, in bytes, roughly.

    Raises:
        Doubt: the text is no object, or not plain.
    """
    place = _BLANK.match(text).end()  # type: ignore[union-attr]
    if text[place : place + 1] != b"{":
        raise Doubt("no object")
    place += 1
    seen: set[str] = set()
    while True:
        found = _KEY.match(text, place)
        if found is None:
            raise Doubt("no key")  # also of an empty object
        key = str(_parsed(found[1]))
        if key in seen:  # the last one counts
            raise Doubt("a key comes twice")
        seen.add(key)
        place = found.end()
        if text[place : place + 1] == b"[":
            yield Piece(key, [], True)
            place, closed = place + 1, False
            while not closed:
                entries, place, closed = _cut(text, place, size)
                yield Piece(key, entries, True)
        else:
            value, place = _one(text, place)
            yield Piece(key, value, False)
        mark, place = _mark(text, place)
        if mark == b"}":
            break
        if mark != b",":
            raise Doubt("a bracket that nothing opens")
    if _BLANK.match(text, place).end() != len(text):  # type: ignore[union-attr]
        raise Doubt("text behind the object")


def _cut(text: bytes, place: int, size: int) -> tuple[list, int, bool]:
    """Entries, where the next ones begin, and whether the list ends there."""
    between = _BETWEEN.finditer(text, min(place + size, len(text)))
    last = _LAST.finditer(text, place)
    for _ in range(_GUESSES):
        for guesses, closes in ((between, False), (last, True)):
            found = next(guesses, None)
            entries = None if found is None else _try(text, place, found.start() + 1)
            if found is not None and entries is not None:
                return entries, found.end() - (not closes), closes
    entries, end = _one(text, place, "[")  # of numbers, of nothing, or of a rare form
    return entries, end, True


def _try(text: bytes, start: int, end: int) -> list | None:
    try:
        return loads_strictly(b"[" + text[start:end] + b"]")
    except (ValueError, RecursionError):
        return None


def _one(text: bytes, place: int, before: str = "") -> tuple[Any, int]:
    """The value that begins at ``place``, with what stood before it, and where it ends."""
    length = 1 << 16
    while True:
        whole = place + length >= len(text)
        try:
            part = codecs.getincrementaldecoder("utf-8")().decode(
                text[place : place + length], final=whole
            )
            value, end = _DECODER.raw_decode(before + part)
        except (ValueError, RecursionError) as error:
            if whole:
                raise Doubt(str(error)) from error
            length *= 8
            continue
        if end == len(before + part) and not whole:  # a number may go on
            length *= 8
            continue
        return value, place + len(part[: end - len(before)].encode())


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Doubt(str(error)) from error


def _mark(text: bytes, place: int) -> tuple[bytes, int]:
    found = _AFTER.match(text, place)
    if found is None:
        raise Doubt("no comma")
    return found[1], found.end()
