"""Maps in a memory format, and the layers that must not be given channels_last ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# oneDNN reads one group of 16 channels of a strided 1x1 convolution's input past its end: its
# gradient ends the process (segmentation fault, double free) or overwrites memory next to it.
GROUP = 16


def converted(value: Any, memory_format: torch.memory_format) -> Any:
    """A module's arguments or output, with the maps (B, C, H, W) in them in a memory format."""
    if isinstance(value, (tuple, list)):
        items = [converted(item, memory_format) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: converted(item, memory_format) for key, item in value.items()}
    if isinstance(value, Tensor) and value.dim() == 4:
        return value.contiguous(memory_format=memory_format)
    return value


def reads_contiguous_only(module: nn.Module) -> bool:
    """Whether a layer is wrong, or crashes, on channels_last maps.

    mmcv's compiled operators take any memory for NCHW, without a word. On a CPU the gradient of a
    strided 1x1 convolution of 2 to 15 channels reads and writes out of bounds in oneDNN 3.12.
    """
    if any(base.__module__.startswith("mmcv.ops") for base in type(module).__mro__):
        return True
    return (
        isinstance(module, nn.Conv2d)
        and tuple(module.kernel_size) == (1, 1)
        and max(module.stride) > 1
        and module.in_channels < GROUP
    )


def guard_layers(model: nn.Module) -> list[nn.Module]:
    """Let every layer of ``model`` that :func:`reads_contiguous_only` get contiguous maps.

    Called again, it changes nothing. Results do not depend on the maps' format afterwards, but for
    rounding.

    Returns:
        These layers.
    """
    guarded = [module for module in model.modules() if reads_contiguous_only(module)]
    for module in guarded:
        if _contiguous_inputs not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_contiguous_inputs, with_kwargs=True)
    return guarded


def _contiguous_inputs(
    module: nn.Module, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]]:
    return converted(args, torch.contiguous_format), converted(kwargs, torch.contiguous_format)
