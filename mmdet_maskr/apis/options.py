"""Checks of an inferencer's arguments before any work: names, types and values."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmdet_maskr.data_files import is_number
from mmdet_maskr.errors import UserError


class Kind(NamedTuple):
    """The accepted values of an argument, and their description for messages."""

    is_good: Callable[[Any], bool]
    words: str


def _is_palette(value: object) -> bool:
    from mmdet.visualization import get_palette

    if not isinstance(value, str):
        return False
    try:
        return value in ("none", "random") or len(get_palette(value, 1)) > 0
    except (AssertionError, KeyError, TypeError, ValueError):
        return False


def _are_names(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
    )


FLAG = Kind(lambda value: isinstance(value, (bool, np.bool_)), "True or False")
CONSTRUCTOR = dict(
    scope=Kind(lambda v: isinstance(v, str) and v.isidentifier(), "the name of a package"),
    palette=Kind(_is_palette, "'coco', 'voc', 'citys', 'random', 'none' or the name of a color"),
    show_progress=FLAG,
    visualizer=Kind(
        lambda v: v is None or (isinstance(v, Mapping) and "type" in v),
        "a config like dict(type='InstanceVisualizer')",
    ),
    classes=Kind(lambda v: v is None or _are_names(v), "names like ('cat', 'dog')"),
    optimize=FLAG,
)
_TEXTS = "left out: these models read no texts. MMDetection's DetInferencer is for those that do"
CALL = dict(
    batch_size=Kind(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1,
        "1 or more",
    ),
    no_save_vis=FLAG,
    no_save_pred=FLAG,
    return_datasamples=FLAG,
    return_vis=FLAG,
    show=FLAG,
    wait_time=Kind(lambda v: is_number(v) and v >= 0, "a number of seconds"),
    draw_pred=FLAG,
    print_result=FLAG,
    track=FLAG,
    texts=Kind(lambda v: v is None, _TEXTS),
    stuff_texts=Kind(lambda v: v is None, _TEXTS),
    custom_entities=Kind(lambda v: v is False, _TEXTS),
    tokens_positive=Kind(lambda v: v is None, _TEXTS),
)


def check(kinds: Mapping[str, Kind], values: Mapping[str, Any], more: Iterable[str] = ()) -> None:
    """Check arguments by name.

    Args:
        kinds: the accepted values of each argument.
        values: the arguments to check.
        more: other argument names of the function, to suggest for unknown names.

    Raises:
        UserError: an argument is unknown or has a wrong value.
    """
    for name, value in values.items():
        if name not in kinds:
            close = difflib.get_close_matches(name, [*kinds, *more], n=1)
            guess = f"did you mean {close[0]}?" if close else f"there are {', '.join(kinds)}."
            raise UserError(f"there is no option {name}={_shown(value)}: {guess}")
        if not kinds[name].is_good(value):
            raise UserError(f"{name}={_shown(value)}: it must be {kinds[name].words}.")


def _shown(value: object) -> str:
    return repr(value)[:80] if isinstance(value, (str, int, float, bool, type(None))) else (
        f"a {type(value).__name__}"
    )  # fmt: skip
