"""Training in channels_last, the memory format that convolutions and RoI layers are fastest in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmdet_maskr.engine.unwrap import unwrapped
from mmdet_maskr.errors import UserError
from mmdet_maskr.memory_format import converted, guard_layers

DEVICES = ("cpu", "cuda")


def turn_on_channels_last(model: nn.Module, devices: Sequence[str] = DEVICES) -> None:
    """Let the backbones in ``model`` get their images as channels_last.

    What follows keeps the format: convolutions, normalization, neck, heads and our RoI layers give
    what they get. Layers that are wrong on it get contiguous maps, see
    :func:`.memory_format.guard_layers`. Weights, and so gradients and the optimizer's state, stay
    as they are: what a checkpoint holds, and whether another run can resume it, does not depend on
    this. Results are the same up to rounding. Called again, it changes nothing but the devices.

    Args:
        model: parts named ``backbone`` are looked for in all of it (a tracker has its detector's,
            a teacher and its student one each); without any, it is left alone, which is logged.
        devices: types of device to do so on; elsewhere images are left alone.

    Raises:
        UserError: an unknown device.
    """
    unknown = sorted(set(devices) - set(DEVICES))
    if unknown:
        raise UserError(f"devices of channels_last must be of {DEVICES}, not {unknown[0]!r}.")
    parts = [getattr(module, "backbone", None) for module in model.modules()]
    backbones = [part for part in dict.fromkeys(parts) if isinstance(part, nn.Module)]
    if not backbones:
        print_log(
            f"{type(model).__name__} has no backbone: ChannelsLastHook has no effect.",
            logger="current",
        )
        return
    guard_layers(model)
    for backbone in backbones:
        for key, hook in list(backbone._forward_pre_hooks.items()):
            if getattr(hook, "func", None) is _to_channels_last:
                del backbone._forward_pre_hooks[key]
        backbone.register_forward_pre_hook(partial(_to_channels_last, tuple(devices)))


def _to_channels_last(devices: tuple[str, ...], module: nn.Module, inputs: tuple) -> tuple:
    first = inputs[0] if inputs else None
    if not isinstance(first, torch.Tensor) or first.device.type not in devices:
        return inputs
    return converted(inputs, torch.channels_last)


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Trains, validates and tests in channels_last, see :func:`turn_on_channels_last`.

    Args:
        devices: types of device to do so on, of 'cpu' and 'cuda'.

    Raises:
        UserError: an unknown device.
    """

    def __init__(self, devices: Sequence[str] = ("cpu",)) -> None:
        self.devices = tuple(devices)

    def before_run(self, runner: Runner) -> None:
        """Before anything is computed, for training, validation and test alike."""
        turn_on_channels_last(unwrapped(runner), self.devices)
