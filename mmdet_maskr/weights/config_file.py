"""Writing a config as what differs from its base files, in the layout of this repository.

All that comes from elsewhere is written by ``repr``, so that no name of a class or a file can end
the text that it stands in.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping, Sequence
from typing import Any

from yapf.yapflib.yapf_api import FormatCode

WIDTH = 100
_STYLE = dict(
    based_on_style="pep8", column_limit=WIDTH, split_before_expression_after_opening_paren=True
)
MISSING = object()


def difference(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that turn ``base`` into ``wanted`` when a config inherits from it.

    Where something of the base must go, or the type is another, the whole dictionary is given,
    with ``_delete_=True``.
    """
    changed: dict[str, Any] = {}
    for key, value in wanted.items():
        old = base.get(key, MISSING)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if set(old) - set(value) or old.get("type") != value.get("type"):
                changed[key] = dict(_delete_=True, **value)
            else:
                inner = difference(old, value)
                if inner:
                    changed[key] = inner
        elif isinstance(value, Mapping) and old is not MISSING:
            changed[key] = dict(_delete_=True, **value)
        elif not same(old, value):
            changed[key] = value
    return changed


def same(left: Any, right: Any) -> bool:
    """Equality that takes a tuple for a list, as configs do."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return (type(left) is type(right) and left == right) or (
        left == right and _numbers(left, right)
    )


def _numbers(*values: Any) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


class Name(str):
    """Stands for another setting of the same config."""


def write_settings(settings: Mapping[str, Any]) -> str:
    """Python source of top-level settings, laid out by yapf, as mmengine does."""
    lines = [f"{name} = {source_of(value)}" for name, value in settings.items()]
    return FormatCode("\n".join(lines) + "\n", style_config=_STYLE)[0]


def _needs_comma(value: Sequence[Any]) -> bool:
    """Whether it would be no tuple without one."""
    return isinstance(value, tuple) and len(value) == 1


def _parts(value: Mapping) -> tuple[str, str, list[str]]:
    """How a dictionary begins and ends, and its keys with what stands between them and values."""
    if all(isinstance(k, str) and k.isidentifier() and not keyword.iskeyword(k) for k in value):
        return "dict(", ")", [f"{key}=" for key in value]
    return "{", "}", [f"{source_of(key)}: " for key in value]


def source_of(value: Any) -> str:
    """Python source of a value, on one line.

    Dictionaries with identifiers as keys become ``dict(...)``, others ``{...}``. mmengine's own
    writing of configs escapes no quotes, and knows no names of other settings.
    """
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, Mapping):
        begin, end, keys = _parts(value)
        entries = [f"{k}{source_of(item)}" for k, item in zip(keys, value.values(), strict=True)]
        return begin + ", ".join(entries) + end
    if isinstance(value, list):
        return "[" + ", ".join(map(source_of, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(source_of, value)) + ("," if _needs_comma(value) else "") + ")"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    # mmengine replaces what stands in double braces before it reads a config
    return repr(value).replace("{{", "{\\x7b") if isinstance(value, str) else repr(value)


def comment(text: str) -> str:
    """A line that is a comment for any text."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return "# " + shown.replace("{{", "{ {") + "\n"
