"""Pretrained RGB weights for a backbone with another number of bands."""

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
    """Adapt weights (O, I, k, k) of a first convolution to (O, channels, k, k).

    One band gets the sum of the weights, because a gray image has three equal channels. More bands
    get them in turn, scaled so that equal bands give the same output as before.
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
        prefix: prefix of the backbone's parameters in the checkpoint.

    Raises:
        UserError: at initialization, if the checkpoint has no weights for the first convolution.
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
