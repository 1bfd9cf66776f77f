"""torchvision's kernels, where they are installed and run on a device."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor


@functools.cache
def ops() -> ModuleType | None:
    """``torchvision.ops``, or None where torchvision is absent or built for another torch."""
    try:
        module = importlib.import_module("torchvision.ops")
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        module.nms(box, box[:, 0], 0.5)  # a wrong build imports, but has no operator
    except Exception:  # ImportError, RuntimeError or OSError, by the kind of damage
        return None
    return module


def op(name: str) -> Callable[..., Tensor]:
    """``torchvision.ops.<name>``, of which :func:`has` said that it is there."""
    return getattr(ops(), name)


@functools.cache
def has(name: str, device: str) -> bool:
    """Whether ``torchvision.ops.<name>`` runs on a type of device.

    Args:
        name: 'nms', 'roi_align' or 'deform_conv2d'.
        device: as in ``tensor.device.type``.
    """
    module = ops()
    if module is None:
        return False
    one = torch.ones(1, 1, 2, 2, device=device)
    box = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]], device=device)
    try:
        if name == "nms":
            module.nms(box[:, 1:], box[:, 4], 0.5)
        elif name == "roi_align":
            module.roi_align(one, box, 1)
        else:
            module.deform_conv2d(one, one.new_zeros(1, 2, 2, 2), one.new_ones(1, 1, 1, 1))
    except (NotImplementedError, RuntimeError):  # no kernel for the device
        return False
    return True
