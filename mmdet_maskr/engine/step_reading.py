"""Reads all values of a training step that the host needs from the device at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmdet_maskr.ops.late_checks import Check, collected, settle


class StepReading:
    """Whether the loss is finite on all ranks, the losses for the log, the forward pass's checks.

    Each alone would make the host wait until a GPU has come to it: seven losses and five checks of
    a Mask R-CNN are twelve waits.

    Args:
        model: its ``parse_losses`` is watched, for the losses of the log.
        wrapper: its ``optim_context`` is watched: the forward pass is within.
    """

    def __init__(self, model: nn.Module, wrapper: OptimWrapper) -> None:
        self._parts: dict[str, Any] = {}
        self._checks: list[Check] = []
        context = wrapper.optim_context

        @contextmanager
        def watched_context(*args, **kwargs) -> Iterator[None]:
            self._read_checks()  # of a forward pass that no update followed
            with context(*args, **kwargs), collected() as self._checks:
                yield

        # attributes of the objects, as update_params in LossGuardHook
        if isinstance(model, BaseModel):  # others train in a way of their own
            model.parse_losses = self._watched(model.parse_losses)
        wrapper.optim_context = watched_context

    def _watched(self, parse: Callable[[dict], tuple[Tensor, dict]]) -> Callable:
        is_plain = getattr(parse, "__func__", None) is BaseModel.parse_losses

        def watched_parse(losses: dict) -> tuple[Tensor, dict]:
            total, self._parts = (is_plain and _summed(losses)) or parse(losses)
            return total, self._parts

        return watched_parse

    def is_bad_anywhere(self, loss: Tensor) -> bool:
        """Whether the loss is not finite on any rank. The parts for the log are on the CPU then.

        All ranks leave out a step, or none: gradients are averaged over them.

        Args:
            loss: () of this rank, as :meth:`~mmengine.model.BaseModel.parse_losses` sums it up.

        Raises:
            UserError: a check of the forward pass failed.
        """
        value = loss.detach()
        bad = (value - value != 0).to(torch.float32)  # of what is not finite it is NaN
        all_reduce(bad, op="max")
        if bad.device.type == "cpu":
            return bool(bad)
        checks, self._checks = self._checks, []
        names = [name for name, value in self._parts.items() if _is_number(value)]
        goods = [check.good for check in checks]
        parts = [self._parts[name].detach().reshape(()) for name in names]
        read = torch.stack([bad, *goods, *parts]).float().cpu()  # bools become numbers
        for name, value in zip(names, read[1 + len(goods) :].unbind(), strict=True):
            self._parts[name] = value
        settle(checks, [bool(good) for good in read[1 : 1 + len(goods)]])
        return bool(read[0])

    def _read_checks(self) -> None:
        checks, self._checks = self._checks, []
        if checks:
            settle(checks, torch.stack([check.good for check in checks]).tolist())


def _summed(losses: dict[str, Tensor | list[Tensor]]) -> tuple[Tensor, dict[str, Tensor]] | None:
    """What ``BaseModel.parse_losses`` gives of losses on a GPU, in one sum; None of others.

    Args:
        losses: by name a number, or a list of one.
    """
    parts: dict[str, Tensor] = {}
    for name, value in losses.items():
        one: Any = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not _is_number(one):
            return None
        parts[name] = one.reshape(())
    counted = [value for name, value in parts.items() if "loss" in name]
    if not counted:
        return None
    total = torch.stack(counted).sum()
    return total, dict(loss=total, **parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1 and value.device.type != "cpu"
