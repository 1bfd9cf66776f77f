"""Pretrained weights of RGB images for a backbone whose images have other bands."""

from __future__ import annotations

import torch
from mmdet.registry import WEIGHT_INITIALIZERS
from mmengine.logging import print_log
from mmengine.model import PretrainedInit, update_init_info
from mmengine.runner.checkpoint import _load_checkpoint, _load_checkpoint_with_prefix
from mmengine.runner.checkpoint import load_state_dict as load_into
from torch import Tensor, nn

from mmdet_maskr.errors import UserError


def inflated(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's weights (O, I, k, k) for ``channels`` bands, (O, channels, k, k).

    One band gets the sum of the weights, as a gray image has three equal channels; more get them in
    turn, scaled so that bands which are all alike give what they gave.
    """
    own = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(channels) % own] * (own / channels)


@WEIGHT_INITIALIZERS.register_module(name="PretrainedBands")
class PretrainedBandsInit(PretrainedInit):
    """``init_cfg=dict(type='PretrainedBands', ...)``: as 'Pretrained', with a stem of any bands.

    Args:
        checkpoint: path, URL or name, as 'Pretrained' takes it.
        prefix: of the part of the checkpoint that is the backbone.

    Raises:
        UserError: later: the checkpoint has no weights of the first convolution.
    """

    def __call__(self, module: nn.Module) -> None:
        print_log(f"loading backbone weights from {self.checkpoint}", logger="current")
        if self.prefix is None:
            checkpoint = _load_checkpoint(self.checkpoint, map_location=self.map_location)
            state = checkpoint.get("state_dict", checkpoint)
        else:
            state = _load_checkpoint_with_prefix(
                self.prefix, self.checkpoint, map_location=self.map_location
            )
        name, stem = next(
            (f"{name}.weight", layer)
            for name, layer in module.named_modules()
            if isinstance(layer, nn.Conv2d)
        )
        if name not in state:
            raise UserError(f"init_cfg: {self.checkpoint} has no {name}, the stem's weights.")
        state = {**state, name: inflated(state[name], stem.in_channels)}
        load_into(module, state, strict=False, logger="current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=self._get_init_info())
