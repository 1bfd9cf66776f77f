"""Which part was being built when an error occurred, noted on the error.

mmengine builds parts from dictionaries wherever they are needed, and what a constructor or a
registry says then does not name the place in the config. :mod:`.adjustments` lets mmengine do so
within calls of this package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from mmengine.registry import Registry

_NOTES = "_mmdet_maskr_notes"


class Note(NamedTuple):
    """A registry, and the dictionary that it was given."""

    registry: Registry
    cfg: Any


def noting(build: Callable[..., Any]) -> Callable[..., Any]:
    """``Registry.build`` that notes on an error what it was to build."""

    @functools.wraps(build)
    def build_noting(registry: Registry, cfg: Any, *args: Any, **options: Any) -> Any:
        try:
            return build(registry, cfg, *args, **options)
        except Exception as error:
            setattr(error, _NOTES, [*notes_of(error), Note(registry, cfg)])
            raise

    return build_noting


def notes_of(error: BaseException) -> list[Note]:
    """The parts that were being built, the innermost first; none where nothing was."""
    return getattr(error, _NOTES, [])
