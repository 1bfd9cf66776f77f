"""Devices that lack an operator: the CPU computes, and the log says so once."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

from torch import Tensor


def or_on_cpu(name: str, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function(*tensors)``, on a CPU where the tensors' device has no kernel for it.

    Args:
        name: of the op, for the message.
        function: takes the tensors and gives one on their device.
        *tensors: on one device; their shapes are the function's, such as (N, 4).
    """
    device = tensors[0].device
    if device.type in ("cpu", "cuda"):
        return function(*tensors)
    try:
        return function(*tensors)
    except NotImplementedError:
        _say(name, device.type)
        return function(*(tensor.cpu() for tensor in tensors)).to(device)


@functools.cache
def _say(name: str, device: str) -> None:
    warnings.warn(
        f"{name} has no kernel for {device}: it runs on the CPU. Install torchvision "
        f"to use its kernel for {device}, if it has one.",
        stacklevel=2,
    )
