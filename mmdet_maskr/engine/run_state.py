"""State of a run in plain attributes of its objects, such as EarlyStoppingHook's.

mmengine's checkpoints have the weights, the optimizer and the schedules. Hooks and parts of the
model may count and choose besides: a size of images for the next ten batches, a threshold that
adapts. What has changed since the start of the training is stored with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import HistoryBuffer
from torch import nn

from mmdet_maskr.errors import UserError

Attributes = dict[str, Any]
OTHER = object()  # stands for a value that is not plain
# What stock hooks have to remember; others of them find out anew (a switch that is due is made).
_STOCK = {"mmengine", "mmdet", "mmdet_maskr"}
_REMEMBERED = {EarlyStoppingHook: ("wait_count", "best_score")}
_SKIPPED = {"training", "call_super_init", "dump_patches"}
_DEPTH = 3  # of parts in parts: an assigner's calculator of IoUs


def plain(value: Any) -> Any:
    """A value as numbers, texts, None and lists or tuples of them; :data:`OTHER` if it is not."""
    if isinstance(value, (np.generic, torch.Tensor)):
        number = isinstance(value, np.generic) or value.dim() == 0
        return value.item() if number else OTHER
    if value is None or type(value) in (bool, int, float, str, complex):
        return value
    if type(value) in (list, tuple):
        items = [plain(item) for item in value]
        return OTHER if any(item is OTHER for item in items) else type(value)(items)
    return OTHER


def is_data(value: Any) -> bool:
    """Whether a checkpoint that holds this can be read without running anything."""
    if isinstance(value, Mapping):
        return all(map(is_data, value)) and all(map(is_data, value.values()))
    if type(value) in (list, tuple, set):
        return all(map(is_data, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biufc"
    return value is None or isinstance(
        value,
        (bool, int, float, complex, str, bytes, torch.Tensor, torch.dtype, torch.device,
         HistoryBuffer),
    )  # fmt: skip


def snapshot(model: nn.Module, hooks: Sequence[Hook]) -> dict[str, Attributes]:
    """The attributes of modules, of what these are made of, and of hooks, by their place.

    Values that are not plain are given by their identity.
    """
    found = {}
    for name, module in model.named_modules():
        for place, part in _parts(f"model.{name}".rstrip("."), module, _DEPTH):
            found[place] = _attributes(part)
    for place, hook in _named(hooks):
        found[place] = _attributes(hook)
    return found


def capture(
    model: nn.Module, hooks: Sequence[Hook], before: Mapping[str, Attributes]
) -> dict[str, Attributes]:
    """What has changed since ``before``, and what hooks have in a ``state_dict``.

    A part that has also other than plain attributes changed (a cache, say) cannot be brought back
    by the plain ones alone. It is named by an entry without attributes.
    """
    states: dict[str, Attributes] = {}
    for place, now in snapshot(model, hooks).items():
        then = before.get(place, {})
        changed = {key for key in now if key not in then or not _same(now[key], then[key])}
        if not changed:
            continue
        values = {key: now[key] for key in sorted(changed) if not isinstance(now[key], _Identity)}
        is_hook = place.startswith("hook.")
        whole = len(values) == len(changed)
        states[place] = values if whole or is_hook else {}
    for place, hook in _named(hooks):
        own = _own_state(hook)
        if own is not None:
            states[place] = own
        elif _is_stock(hook):
            states.pop(place, None)
    return states


def restore(
    model: nn.Module, hooks: Sequence[Hook], states: Mapping[str, Attributes]
) -> tuple[list[str], list[str]]:
    """Give attributes the values that :func:`capture` has found.

    Returns:
        Places that are not there any more or were not whole, and places of hooks (not of those of
        mmengine and mmdet) with attributes that were set.
    """
    parts: dict[str, object] = {}
    for name, module in model.named_modules():
        parts.update(_parts(f"model.{name}".rstrip("."), module, _DEPTH))
    hooks_by_place = dict(_named(hooks))
    inexact, told = [], []
    for place, state in states.items():
        target = hooks_by_place.get(place, parts.get(place))
        if target is None or not state:
            inexact.append(place)
        elif hasattr(target, "load_state_dict") and isinstance(target, Hook):
            target.load_state_dict(state)
        else:
            for key, value in state.items():
                setattr(target, key, value)
            if isinstance(target, Hook) and not _is_stock(target):
                told.append(f"{place.removeprefix('hook.')} ({', '.join(sorted(state))})")
    return inexact, told


def check_hooks(hooks: Sequence[Hook]) -> None:
    """Refuse hooks whose ``state_dict`` could not be read back.

    Raises:
        UserError: names the hook and the key.
    """
    for hook in hooks:
        state = _own_state(hook) or {}
        for key, value in state.items():
            if not is_data(value):
                raise UserError(
                    f"{type(hook).__name__}.state_dict() has a {type(value).__name__} as {key!r}, "
                    "which a checkpoint cannot store: use numbers, strings, arrays and tensors "
                    "only."
                )


def _own_state(hook: Hook) -> Attributes | None:
    if hasattr(hook, "state_dict") and hasattr(hook, "load_state_dict"):
        return hook.state_dict()
    if _is_stock(hook):
        for kind, names in _REMEMBERED.items():
            if isinstance(hook, kind):
                return {name: plain(getattr(hook, name)) for name in names}
    return None


def _is_stock(hook: Hook) -> bool:
    return type(hook).__module__.split(".")[0] in _STOCK


def _named(hooks: Sequence[Hook]) -> Iterator[tuple[str, Hook]]:
    """Hooks by their class and their number among those of this class."""
    count: dict[str, int] = {}
    for hook in hooks:
        name = type(hook).__name__
        number = count[name] = count.get(name, 0) + 1
        yield f"hook.{name}" + (f".{number}" if number > 1 else ""), hook


def _parts(place: str, part: object, depth: int) -> Iterator[tuple[str, object]]:
    """A module and the objects of mmdet that it is made of and that are no modules themselves."""
    yield place, part
    if not depth:
        return
    for key, value in list(vars(part).items()):
        items = value if type(value) in (list, tuple) else [value]
        for number, item in enumerate(items):
            kind = type(item).__module__
            if kind.split(".")[0].startswith("mmdet") and hasattr(item, "__dict__"):
                if not isinstance(item, nn.Module):
                    yield from _parts(f"{place}.{key}[{number}]", item, depth - 1)


class _Identity:
    """A value that is not plain: itself, so that it stays what it is while it is compared."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _attributes(part: object) -> Attributes:
    found: Attributes = {}
    for key, value in vars(part).items():
        if key in _SKIPPED:
            continue
        simple = plain(value)
        found[key] = _Identity(value) if simple is OTHER else simple
    return found


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, _Identity) or isinstance(b, _Identity):
        return isinstance(a, _Identity) and isinstance(b, _Identity) and a.value is b.value
    return type(a) is type(b) and (a == b or (a != a and b != b))  # NaN equals NaN
