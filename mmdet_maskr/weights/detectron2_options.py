"""Detectron2's YAML configs: base files, defaults, and what is not supported here.

Options fall into those that the conversion reads (with Detectron2's defaults, version 2), those
that must have the value that this plugin has, and those that decide nothing about a trained model.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mmdet_maskr.data_files import is_number, read_yaml
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import as_path
from mmdet_maskr.weights.detectron2_defaults import (
    ACCEPTED,
    ARCHITECTURES,
    IGNORED,
    LISTS,
    READ,
)

MAX_LITERAL = 10_000  # characters of a list that is written as a text
MAX_ITEMS = 1000  # of a list
MAX_WIDTH = 50_000  # of a layer, and of an image
MAX_VALUE = 1e6
MAX_BASES = 50


def read_options(path: str | Path) -> dict[str, Any]:
    """Options of a Detectron2 YAML config, a dump or one of the model zoo with its base files.

    Args:
        path: of the YAML file.

    Returns:
        All of :data:`READ` by dotted name.

    Raises:
        UserError: no such file, no YAML, another meta-architecture, or options that are not
            supported or of another type, all of them by name.
    """
    given = dict(_flat(_with_bases(Path(path), ())))
    if not any(name.startswith("MODEL.") for name in given):
        raise UserError(f"{path} has no MODEL section, so it is not a Detectron2 config.")
    return check_options(given, str(path))


def check_options(given: dict[str, Any], named: str) -> dict[str, Any]:
    """All of :data:`READ`, of some options by dotted name.

    Args:
        given: the options that differ from Detectron2's defaults, or more of them.
        named: where they are from, for messages.

    Raises:
        UserError: as :func:`read_options`.
    """
    architecture = given.get("MODEL.META_ARCHITECTURE", ARCHITECTURES[0])
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{named}: MODEL.META_ARCHITECTURE is {architecture!r}; only 'GeneralizedRCNN' (Mask, "
            "Keypoint, Cascade and Faster R-CNN) and 'PanopticFPN' can be converted."
        )
    if architecture != "PanopticFPN":  # a dump has the options of a head that is not built
        given = {k: v for k, v in given.items() if not k.startswith("MODEL.SEM_SEG_HEAD.")}
    problems = [_problem(name, value) for name, value in given.items()]
    problems = [problem for problem in problems if problem]
    if problems:
        raise UserError(
            f"{named} has options that are not supported:\n" + "\n".join(f"  {p}" for p in problems)
        )
    return {name: given.get(name, default) for name, default in READ.items()}


class Code(str):
    """A tag that would run Python code. It is not run: the options that need it are named."""


class _Loader(yaml.SafeLoader):
    """yaml's safe loader, which reads on where a tag asks for Python code."""


_Loader.add_multi_constructor("", lambda loader, tag, node: Code(tag))


def _problem(name: str, value: Any) -> str | None:
    if isinstance(value, Code):
        return f"{name}: code ({value}), which is not run"
    if name in ACCEPTED:
        if value in ACCEPTED[name]:
            return None
        accepted = ", ".join(repr(v) for v in ACCEPTED[name])
        return f"{name}: {repr(value)[:100]} (supported: {accepted})"
    if name in READ:
        wanted = _wanted(name, value)
        return f"{name}: {repr(value)[:100]} (must be {wanted})" if wanted else None
    if any(re.fullmatch(pattern, name) for pattern in IGNORED):
        return None
    return f"{name}: {repr(value)[:100]} (unknown)"


def _wanted(name: str, value: Any) -> str | None:
    """What an option has to be, where it is something else."""
    default = READ[name]
    if name in LISTS:
        items = value if isinstance(value, list) else [value]
        nested = [isinstance(item, list) for item in items]
        if any(nested) and (not all(nested) or name == "INPUT.MIN_SIZE_TRAIN"):
            return "numbers, or for each level a list of them"
        inner = [part for item in items for part in (item if isinstance(item, list) else [item])]
        good = 0 < len(inner) <= MAX_ITEMS and all(_is_number(v) and v >= 0 for v in inner)
        return None if good else "numbers from 0 on, or lists of them"
    if isinstance(default, list):
        kinds = {type(item) for item in default}
        if kinds == {list}:
            good = isinstance(value, list) and 0 < len(value) <= MAX_ITEMS
            good = good and all(_are_numbers(item, len(default[0])) for item in value)
            return None if good else f"a list of lists of {len(default[0])} numbers"
        if kinds == {float}:
            length = None if name.endswith(".IOUS") else len(default)
            wanted = f"a list of {length or 'some'} numbers"
            return None if _are_numbers(value, length) else wanted
        if kinds == {bool}:
            good = isinstance(value, list) and len(value) == len(default)
            good = good and all(isinstance(v, bool) for v in value)
            return None if good else f"a list of {len(default)} times True or False"
        if kinds == {int}:
            good = isinstance(value, list) and 0 < len(value) <= MAX_ITEMS
            good = good and all(_is_width(v) for v in value)
            return None if good else f"a list of whole numbers up to {MAX_WIDTH}"
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return None if good else "a list of names"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "True or False"
    if isinstance(default, int):
        return None if _is_width(value) else f"a whole number up to {MAX_WIDTH}"
    if isinstance(default, float):
        return None if _is_number(value) else "a number"
    return None if isinstance(value, str) else "a text"


def _is_number(value: Any) -> bool:
    return is_number(value) and abs(value) <= MAX_VALUE


def _is_width(value: Any) -> bool:
    """Whether it is a whole number that a layer can have memory for; -1 stands for a default."""
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= MAX_WIDTH


def _are_numbers(value: Any, length: int | None) -> bool:
    good = isinstance(value, list) and 0 < len(value) <= MAX_ITEMS
    return good and len(value) == (length or len(value)) and all(map(_is_number, value))


def _with_bases(path: Path, inside: tuple[Path, ...]) -> dict:
    """The file's content on top of its ``_BASE_`` file's."""
    if not path.is_file():
        needed = f", the _BASE_ of {inside[-1]}" if inside else ""
        raise UserError(f"there is no config {path}{needed}.")
    if path.resolve() in inside:
        raise UserError(f"{path} is its own _BASE_.")
    if len(inside) > MAX_BASES:
        raise UserError(f"{path} is the _BASE_ of more than {MAX_BASES} files.")
    content = read_yaml(path, "config", _Loader)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a config: it contains a {type(content).__name__}.")
    base = content.pop("_BASE_", None)
    if base is None:
        return content
    base = as_path(base, f"{path}: _BASE_")
    return _merge(_with_bases(path.parent / base, (*inside, path.resolve())), content)


def _merge(base: dict, top: dict) -> dict:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _flat(content: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> Any:
    """What Detectron2 makes of a value: strings that are Python's literals are these.

    Zoo configs write tuples as strings, ``"(60000, 80000)"``, and YAML takes ``1e-4`` for one.
    Lists stand for tuples.
    """
    if isinstance(value, str) and not isinstance(value, Code) and len(value) <= MAX_LITERAL:
        try:
            literal = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return value
        return literal if isinstance(literal, str) else _plain(literal)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
