"""Checks of values on a GPU that are read together, once.

A check of the values of a tensor makes the host wait until the GPU has come to them. Within
:func:`late_checks` the verdicts stay on the GPU until the end; what is computed meanwhile must be
safe for bad values, too. On a CPU, and outside of it, a check is made at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor


class Check(NamedTuple):
    """A verdict on the device.

    Attributes:
        good: () bool.
        explain: raises the error, where it is not.
    """

    good: Tensor
    explain: Callable[[], None]


class _State(threading.local):
    open: list[Check] | None = None


_STATE = _State()


def require(good: Tensor, explain: Callable[[], None]) -> None:
    """Make a check: now, or where checks are collected, once :func:`settle` reads them.

    Args:
        good: () bool on any device, the verdict.
        explain: called where it is false; raises the error.
    """
    if _STATE.open is not None and good.device.type != "cpu":
        _STATE.open.append(Check(good, explain))
    elif not bool(good):
        explain()


@contextmanager
def collected() -> Iterator[list[Check]]:
    """Checks within are left to the caller, who has to :func:`settle` them."""
    before, _STATE.open = _STATE.open, []
    try:
        yield _STATE.open
    finally:
        _STATE.open = before


@contextmanager
def late_checks() -> Iterator[None]:
    """Checks within are read at the end, or by whoever collects them further out."""
    if _STATE.open is not None:
        yield
        return
    with collected() as checks:
        yield
    if checks:
        settle(checks, torch.stack([check.good for check in checks]).tolist())


def read(flags: Tensor) -> Tensor:
    """Flags of a device on the host; checks that are open are read with them.

    Args:
        flags: (F,) bool, or of any other shape.

    Returns:
        (F,) bool on the host, or of that shape.

    Raises:
        UserError: a check failed.
    """
    checks = _STATE.open
    if flags.device.type == "cpu" or not checks:
        return flags.cpu()
    taken = checks[:]
    checks.clear()
    whole = torch.cat([flags.flatten(), torch.stack([check.good for check in taken])]).cpu()
    settle(taken, whole[flags.numel() :].tolist())
    return whole[: flags.numel()].view(flags.shape)


def settle(checks: Sequence[Check], verdicts: Sequence[bool]) -> None:
    """Raise the error of the first check that failed.

    Args:
        checks: what was collected.
        verdicts: their ``good``, read from the device.
    """
    for check, good in zip(checks, verdicts, strict=True):
        if not good:
            check.explain()
