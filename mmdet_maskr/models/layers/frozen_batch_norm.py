"""Batch normalization that never learns, with torchvision's rounding."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class UnfusedFrozenBN(nn.Module):
    """``norm_cfg=dict(type='UnfusedFrozenBN')``: a multiplication and an addition a channel.

    Statistics and weights are buffers, with BatchNorm2d's names. torch's fused operation, which
    BatchNorm2d in evaluation mode and mmdet's FrozenBN use, computes the same but for the last
    digit, which after fifty layers is the fourth digit of a logit.

    Args:
        num_features: C.
        eps: added to the variance.
    """

    _abbr_ = "bn"  # of parameter names, for mmcv

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, torch.full((num_features,), float(value)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def extra_repr(self) -> str:
        """Channels and epsilon, for ``repr``."""
        return f"{len(self.weight)}, eps={self.eps}"
