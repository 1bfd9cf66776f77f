"""Training in channels_last, the memory format that convolutions and RoI layers are fastest in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdet_maskr.engine.unwrap import unwrapped
from mmdet_maskr.errors import UserError

DEVICES = ("cpu", "cuda")


def turn_on_channels_last(model: nn.Module, devices: Sequence[str] = DEVICES) -> None:
    """Let the backbone of ``model`` get its images as channels_last.

    What follows keeps the format: convolutions, normalisation, neck, heads and our RoI layers give
    what they get. Weights, and so gradients and the optimizer's state, stay as they are: what a
    checkpoint holds, and whether another run can resume it, does not depend on this. Results are
    the same up to rounding.

    Args:
        model: with a ``backbone`` of convolutions.
        devices: types of device to do so on; elsewhere images are left alone.

    Raises:
        UserError: an unknown device.
    """
    unknown = sorted(set(devices) - set(DEVICES))
    if unknown:
        raise UserError(f"devices of channels_last must be of {DEVICES}, not {unknown[0]!r}.")

    def convert(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        images = inputs[0]
        if images.device.type in devices:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, *inputs[1:]

    model.backbone.register_forward_pre_hook(convert)


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Trains in channels_last, see :func:`turn_on_channels_last`.

    Args:
        devices: types of device to do so on, of 'cpu' and 'cuda'.

    Raises:
        UserError: an unknown device.
    """

    def __init__(self, devices: Sequence[str] = ("cpu",)) -> None:
        self.devices = tuple(devices)

    def before_train(self, runner: Runner) -> None:
        """Before the first iteration."""
        turn_on_channels_last(unwrapped(runner), self.devices)
