"""Explains errors that occur while a part of a config is built."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config

from mmdet_maskr import adjustments
from mmdet_maskr.build_notes import Note, notes_of
from mmdet_maskr.config_types import class_of
from mmdet_maskr.engine.config_parts import no_option, shown, unregistered
from mmdet_maskr.engine.machine_errors import machine_trouble
from mmdet_maskr.errors import UserError


@contextmanager
def explained(cfg: Config) -> Iterator[None]:
    """Build and run a config's parts as data; what goes wrong while building names their key.

    Raises:
        UserError: in place of an error that came from building a part, which is its cause. Errors
            of the machine (memory, disk) stay what they are.
    """
    with adjustments.own_calls():
        try:
            yield
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            message = None if machine_trouble(error) else explain(error, cfg)
            if message is None:
                raise
            raise UserError(message) from error


def explain(error: BaseException, cfg: Config | None = None) -> str | None:
    """One sentence about an error that came from building a part of a config, else None.

    Args:
        error: as it was raised within :func:`.adjustments.own_calls`.
        cfg: the config, to say where in it the part is.
    """
    notes = notes_of(error)
    if not notes:
        return None
    registry, part = notes[0]
    kind = None
    if isinstance(part, Mapping | Config):
        kind = part.get("runner_type" if isinstance(part, Config) else "type")
    place = None if cfg is None else _place(cfg, notes)
    what = place or "a part of the config"
    if kind is not None:
        what = shown(what, kind)
    text = _text(error)
    if "is not in the" in text and "registry" in text:
        with registry.switch_scope_and_registry(None) as used:
            return unregistered(place, kind, used)
    if 'must contain the key "type"' in text:
        return f"{what} has no type, but {str(dict(part))[:200]}."
    wrong = re.search(r"unexpected keyword argument '(\w+)'", text)
    if wrong is not None:
        with registry.switch_scope_and_registry(None) as used:
            return no_option(what, wrong[1], class_of(kind, used))
    return (
        f"{what} cannot be built from these options: {type(error).__name__}: {text} "
        "(MMDET_MASKR_TRACEBACK=1 shows where)."
    )


def _text(error: BaseException) -> str:
    # str() of a KeyError is the repr of its message
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _place(cfg: Config, notes: Sequence[Note]) -> str | None:
    """The dotted key of the innermost part in the config, where it has one place there.

    Parts are copied and completed on the way to where they are built, so they are known by their
    type and settings, within what was being built around them.
    """
    around, place = "", None
    for _, part in reversed(notes):
        if part is cfg or not isinstance(part, Mapping) or isinstance(part, Config):
            continue
        inside = [(key, value) for key, value in _parts(cfg, "") if key.startswith(around)]
        same = [(key, v) for key, v in inside if v.get("type") == part.get("type")]
        found = [key for key, value in same if _is_from(part, value)] or [key for key, _ in same]
        place = found[0] if len(found) == 1 else None
        around = place or around
    return place


def _is_from(part: Mapping, value: Mapping) -> bool:
    return all(key in part and part[key] == item for key, item in value.items())


def _parts(value: Any, key: str) -> Iterator[tuple[str, Mapping]]:
    if isinstance(value, Mapping | Config):
        if key and not isinstance(value, Config):
            yield key, value
        for name, item in value.items():
            yield from _parts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _parts(item, f"{key}[{index}]")
