"""A config as a tree of values with reasons, and its text.

A tree is a dictionary of dictionaries, lists and values. A chosen value is a :class:`Choice`; its
reason becomes a comment behind the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from textwrap import wrap
from typing import Any

from mmdet_maskr.engine.options import as_configured

COLUMNS = 100


@dataclass(frozen=True)
class Choice:
    """A value of a config and its reason."""

    value: Any
    reason: str


@dataclass(frozen=True)
class Code:
    """An expression, such as the name of a variable above."""

    text: str

    def __repr__(self) -> str:
        return self.text


def text_of(tree: Mapping[str, Any], header: str) -> str:
    """The config as Python.

    Args:
        tree: top-level settings.
        header: comments at the top.
    """
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    for key, value in tree.items():
        lines += _lines(f"{key} = ", value, "", "")
    return "\n".join(lines) + "\n"


def _lines(start: str, value: Any, end: str, indent: str) -> list[str]:
    """Lines of a value. ``start`` comes before it, ``end`` behind."""
    if isinstance(value, Choice):
        code = f"{indent}{start}{value.value!r}{end}"
        whole = f"{code}  # {value.reason}"
        if len(whole) <= COLUMNS or not value.reason:
            return [whole if value.reason else code]
        above = wrap(value.reason, COLUMNS - len(indent) - 2)
        return [f"{indent}# {line}" for line in above] + [code]
    one = _only(value)
    if one is not None:
        return _lines(start + one[0], one[1], one[2] + end, indent)
    deeper = indent + "    "
    if isinstance(value, Mapping) and all(str(key).isidentifier() for key in value):
        if not value or all(_is_plain(item) for item in value.values()):
            code = ", ".join(f"{key}={item!r}" for key, item in value.items())
            if len(indent + start + code + end) + 6 <= COLUMNS:
                return [f"{indent}{start}dict({code}){end}"]
        parts = [_lines(f"{key}=", item, ",", deeper) for key, item in value.items()]
        return [f"{indent}{start}dict(", *chain(*parts), f"{indent}){end}"]
    if isinstance(value, list) and not all(map(_is_plain, value)):
        parts = [_lines("", item, ",", deeper) for item in value]
        return [f"{indent}{start}[", *chain(*parts), f"{indent}]{end}"]
    return [f"{indent}{start}{value!r}{end}"]


def _only(value: Any) -> tuple[str, Choice, str] | None:
    """The single choice in a tree, and the text before and behind it; None where there are more."""
    before, behind = "", ""
    while isinstance(value, Mapping) and len(value) == 1:
        ((key, value),) = value.items()
        before, behind = f"{before}dict({key}=", behind + ")"
    return (before, value, behind) if before and isinstance(value, Choice) else None


def _is_plain(value: Any) -> bool:
    return not isinstance(value, (Choice, Mapping, list))


def set_value(tree: dict[str, Any], path: str, value: Any, reason: str) -> None:
    """Put a user's value into the tree.

    Args:
        tree: the tree to change.
        path: keys, joined by dots.
        value: the new value.
        reason: the reason for the comment.
    """
    *parents, last = path.split(".")
    place: Any = tree
    for key in parents:
        following = _get(place, key)
        if isinstance(following, Choice):
            following = following.value
        if isinstance(following, Mapping):
            following = dict(following)
        elif not isinstance(following, list):
            following = {}
        _set(place, key, following)
        place = following
    before = plain(_get(place, last)) if isinstance(place, Mapping) else None
    _set(place, last, Choice(as_configured(before, value), reason))


def _get(place: Any, key: str) -> Any:
    return place[int(key)] if isinstance(place, list) else place.get(key)


def _set(place: Any, key: str, value: Any) -> None:
    place[int(key) if isinstance(place, list) else key] = value


def plain(tree: Any) -> Any:
    """The tree's values without reasons; expressions stay :class:`Code`."""
    if isinstance(tree, Choice):
        return tree.value
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(value) for value in tree] if isinstance(tree, list) else tree
