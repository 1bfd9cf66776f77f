"""Reading data files: an error names the file, the place in it, and the fix.

What a file may ask for is bounded: texts are nested up to a depth, numbers have as many digits as
Python prints, and a YAML file whose aliases repeat one another is refused before it is expanded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmdet_maskr.errors import UserError, no_file

MAX_DEPTH = 100
MAX_NODES = 200_000  # of a YAML file, with what its aliases repeat
MAX_DIGITS = 4300  # Python's own limit for printing a number
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONG_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-F_:.xob]*")


def read_text(path: str | Path, what: str) -> str:
    """Text of a file.

    Args:
        path: of the file.
        what: it is, for messages, such as 'log'.

    Raises:
        UserError: no such file, one that cannot be read, or that is not UTF-8.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise no_file(what, path)
        return decode(path.read_bytes(), f"{what} {path}")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{what} {str(path)!r} cannot be read: {reason}.") from error


def decode(content: bytes, named: str, first: int = 1) -> str:
    """Text of bytes in UTF-8, whose first line has the number ``first`` in its file.

    Raises:
        UserError: they are not; says where.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + first
        raise UserError(
            f"{named}, line {line}: byte {content[error.start]:#04x} is not UTF-8: the "
            "file is damaged or has another format."
        ) from error


def parse_json(content: str | bytes, named: str = "the file", first: int | None = None) -> Any:
    """Values of a text in JSON: a whole file, or line number ``first`` of one.

    Raises:
        UserError: it is none; says where.
    """
    text = decode(content, named, first or 1) if isinstance(content, bytes) else content
    where = named if first is None else f"{named}, line {first}"
    try:
        value = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{named}, line {first or error.lineno}, column {error.colno}: {error.msg}; "
            "it is not JSON."
        ) from error
    except (ValueError, RecursionError) as error:  # too many digits, or brackets
        raise UserError(f"{where} is not JSON with plain data: {str(error)[:100]}.") from error
    if "\\u" in text and _SURROGATE.search(text):  # else there is nothing to walk through for
        _check_texts(value, where)
    return value


def _check_texts(value: Any, named: str) -> None:
    """Refuse halves of characters, which can be neither printed nor written."""
    for text in _texts(value):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"{named} holds {text[:40]!r}, which is not a string.")


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def check_depth(value: Any, named: str) -> None:
    """Refuse what is nested so deeply that Python could not copy or print it.

    Raises:
        UserError: it is.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise UserError(f"{named} is nested more than {MAX_DEPTH} levels deep.")
        level = [
            item
            for values in level
            if isinstance(values, (dict, list))
            for item in (values.values() if isinstance(values, dict) else values)
            if isinstance(item, (dict, list))
        ]


def read_json(path: str | Path, what: str, kind: type | None = None, cure: str = "") -> Any:
    """Values of a JSON file.

    Args:
        path: of the file.
        what: it is, for messages.
        kind: dict or list, what it has to hold; None for either.
        cure: what to do about a damaged one.

    Raises:
        UserError: no such file, no JSON, or of another kind.
    """
    text = read_text(path, what)
    named = f"{what} {path}"
    end = f" {cure}" if cure else ""
    try:
        value = parse_json(text, named)
        check_depth(value, named)
    except UserError as error:
        raise UserError(f"{error}{end}") from error
    if kind is not None and not isinstance(value, kind):
        wanted = "dictionary" if kind is dict else "list"
        raise UserError(f"{named} contains a {type(value).__name__}, not a {wanted}.{end}")
    return value


def parse_yaml(content: str | bytes, named: str = "the file", loader: Any = None) -> Any:
    """Values of a text in YAML.

    Args:
        content: the text.
        named: the file, for messages.
        loader: of PyYAML; its safe one by default.

    Raises:
        UserError: it is none, asks for code, or would be far larger when its aliases are expanded.
    """
    import yaml

    text = decode(content, named) if isinstance(content, bytes) else content
    try:
        _check_events(text, named)
        value = yaml.load(text, loader or getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except UserError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{named}{line} is not plain YAML data: {error.problem}.") from error
    except (yaml.YAMLError, RecursionError, ArithmeticError, LookupError) as error:
        raise UserError(f"{named} is not plain YAML data: {str(error)[:200]}.") from error
    except (ValueError, TypeError, AttributeError) as error:  # `!!timestamp x` and the like
        raise UserError(
            f"{named} is not plain YAML data: a value has the wrong type ({str(error)[:100]})."
        ) from error
    return value


def _check_events(text: str, named: str) -> None:
    """Count what the text stands for, without making anything of it."""
    import yaml

    sizes: dict[str, int] = {}
    open_: list[list] = [[None, 0]]  # anchor and size of what is being read
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        where = f"{named}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append([event.anchor, 1])
            if len(open_) > MAX_DEPTH:
                raise UserError(
                    f"{where} is not plain YAML data: nested more than {MAX_DEPTH} levels deep."
                )
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
            if len(event.value) > MAX_DIGITS and _LONG_NUMBER.fullmatch(event.value):
                raise UserError(f"{where} is not plain YAML data: a number is too long.")
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _ in open_):
                raise UserError(f"{where} is not plain YAML data: *{event.anchor} contains itself.")
            anchor, size = None, sizes.get(event.anchor, 0)
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        open_[-1][1] += size
        if open_[-1][1] > MAX_NODES:
            raise UserError(
                f"{where} is not plain YAML data: with its aliases it has more than "
                f"{MAX_NODES} values."
            )


def read_yaml(path: str | Path, what: str, loader: Any = None) -> Any:
    """Values of a YAML file.

    Args:
        path: of the file.
        what: it is, for messages.
        loader: of PyYAML; its safe one by default.

    Raises:
        UserError: no such file, or one that :func:`parse_yaml` refuses.
    """
    return parse_yaml(read_text(path, what), f"{what} {path}", loader)


def field(
    values: Mapping, key: str, is_good: Callable[[Any], bool], wanted: str, named: str
) -> Any:
    """A value that a file has to have.

    Args:
        values: of the file.
        key: of the value.
        is_good: whether it is one.
        wanted: what it has to be, for messages.
        named: the file, for messages.

    Raises:
        UserError: it is missing, or another.
    """
    if key not in values:
        raise UserError(f"{named} has no {key}, which must be {wanted}.")
    value = values[key]
    if not is_good(value):
        raise UserError(f"{named}: {key} is {str(value)[:60]!r}, but must be {wanted}.")
    return value


def is_number(value: object) -> bool:
    """Whether it is a finite number, and no boolean."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= 1e300  # false of NaN too
    )
