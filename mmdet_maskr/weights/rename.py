"""Name maps as data, applied strictly: every source tensor used or dropped, every target filled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from mmdet_maskr.errors import UserError

LISTED = 20  # names of each kind that a message shows


class WeightsMismatchError(UserError):
    """Names or shapes of a checkpoint do not fit the model."""


class Rule(NamedTuple):
    """Source tensors with this name go to these names.

    Args:
        pattern: regular expression that the whole source name matches.
        target: one template or several; ``{1}`` is group 1, ``{1-2}`` and ``{1/2}`` compute with
            the number that it holds, ``{norm}`` is a variable of the :class:`NameMap`.
    """

    pattern: str
    target: str | tuple[str, ...]


class Drop(NamedTuple):
    """Source tensors with this name are left out, for this reason."""

    pattern: str
    reason: str


@dataclass
class NameMap:
    """How a source's tensors become a model's.

    Args:
        rules: the first that matches counts.
        drops: source tensors that have no place here.
        variables: of the templates.
        changes: for target names that match, what is done to the tensor.
        defaults: for target names that match, the value where the source has none.
    """

    rules: Sequence[Rule]
    drops: Sequence[Drop] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    defaults: Mapping[str, float] = field(default_factory=dict)

    def targets(self, name: str) -> list[str] | None:
        """Where a source tensor goes; None where no rule knows it."""
        for rule in self.rules:
            match = re.fullmatch(rule.pattern, name)
            if match:
                templates = [rule.target] if isinstance(rule.target, str) else rule.target
                return [self._fill(template, match) for template in templates]
        return None

    def drop_reason(self, name: str) -> str | None:
        """Why a source tensor is dropped; None where it is not."""
        return next((d.reason for d in self.drops if re.fullmatch(d.pattern, name)), None)

    def _fill(self, template: str, match: re.Match) -> str:
        def value(found: re.Match) -> str:
            key, operator, number = found.groups()
            if not key.isdigit():
                return self.variables[key]
            text = match.group(int(key))
            if operator is None:
                return text
            number = int(number)
            return str(int(text) // number if operator == "/" else int(text) - number)

        return re.sub(r"\{(\w+?)(?:([-/])(\d+))?\}", value, template)


class Renamed(NamedTuple):
    """``state`` by target names, and what was ``dropped``, by source name with the reason."""

    state: dict[str, Tensor]
    dropped: dict[str, str]


def rename(
    source: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], name_map: NameMap
) -> Renamed:
    """Rename and adapt all tensors of a checkpoint.

    Args:
        source: tensors, of shapes (R, ...) that the map knows, by the source's names.
        shapes: of all tensors of the target model, by name.
        name_map: the rules.

    Raises:
        WeightsMismatchError: with a list of the source tensors without a place, target tensors
            without a value, shapes that differ, and targets with two sources.
    """
    state: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    dropped: dict[str, str] = {}
    problems: dict[str, list[str]] = {}
    for name, tensor in source.items():
        reason = name_map.drop_reason(name)
        targets = [] if reason is not None else name_map.targets(name)
        if reason is not None:
            dropped[name] = reason
            continue
        places = [target for target in targets or () if target in shapes]
        if not places or len(places) < len(targets or ()):
            where = f" (as {', '.join(targets)})" if targets else ""
            problems.setdefault("not used", []).append(f"{name}{where}")
            continue
        for target in places:
            if target in state:
                problems.setdefault("filled twice", []).append(
                    f"{target} by {origin[target]} and {name}"
                )
                continue
            value = _change(target, tensor, name_map)
            if value.shape != shapes[target]:
                problems.setdefault("of another shape", []).append(
                    f"{name} {tuple(tensor.shape)} for {target} {tuple(shapes[target])}"
                )
            state[target], origin[target] = value, name
    for target in shapes:
        if target not in state:
            default = _first(name_map.defaults, target)
            if default is None:
                problems.setdefault("not filled", []).append(target)
            else:
                dtype = torch.long if target.endswith("num_batches_tracked") else torch.float32
                state[target] = torch.full(shapes[target], default, dtype=dtype)
    if problems:
        raise WeightsMismatchError(_message(problems))
    return Renamed({name: state[name] for name in shapes}, dropped)


def _change(target: str, tensor: Tensor, name_map: NameMap) -> Tensor:
    change = _first(name_map.changes, target)
    try:
        return (tensor if change is None else change(tensor)).clone()
    except (RuntimeError, IndexError):  # a shape that the change does not know: reported as such
        return tensor


def _first(table: Mapping, name: str):
    return next((value for key, value in table.items() if re.fullmatch(key, name)), None)


def _message(problems: dict[str, list[str]]) -> str:
    lines = ["the checkpoint does not fit the model."]
    for kind, names in problems.items():
        lines.append(f"{len(names)} {kind}:")
        lines += [f"  {name}" for name in names[:LISTED]]
        if len(names) > LISTED:
            lines.append(f"  ... and {len(names) - LISTED} more")
    return "\n".join(lines)
