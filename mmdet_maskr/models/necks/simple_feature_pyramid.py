"""A pyramid from the last map of a plain backbone (Li et al. 2022, ViTDet, section 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_maskr.errors import UserError

SCALES = (4.0, 2.0, 1.0, 0.5)


@MODELS.register_module()
class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalization over the channels of each pixel of (B, C, H, W).

    As ``norm_cfg=dict(type='ChannelLayerNorm', eps=1e-6)``: the paper's choice for pyramid and
    heads, in place of batch normalization.
    """

    _abbr_ = "ln"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return x.permute(0, 3, 1, 2).contiguous()


class NormedConv(nn.Conv2d):
    """Convolution without bias, then layer normalization; no activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.norm = ChannelLayerNorm(out_channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self.norm(super().forward(x))


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Feature maps of stride 4, 8, 16, 32 (and coarser), all from one map of stride 16.

    By deconvolutions of stride 2, the map itself, or max pooling; then a 1x1 and a 3x3 convolution
    with layer normalization. There is no top-down path: the plain backbone's last map has all the
    information. Parameters are named as in Detectron2's ``SimpleFeaturePyramid``: its
    ``backbone.simfp_*`` is ``neck.simfp_*`` here.

    Args:
        in_channels: C, channels of the backbone's map.
        out_channels: channels of every level.
        stride: of the backbone's map, in pixels.
        num_outs: number of levels: 4, or more by subsampling the coarsest.
        init_cfg: for mmengine's BaseModule; default: torch's own initialization of the layers.

    Raises:
        UserError: there are fewer than 4 levels, or the stride is not a power of two.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        stride: int = 16,
        num_outs: int = 5,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_outs < len(SCALES):
            raise UserError(f"neck.num_outs must be at least {len(SCALES)}, not {num_outs!r}.")
        if stride < 4 or 2 ** round(math.log2(stride)) != stride:
            raise UserError(f"neck.stride must be a power of two from 4 on, not {stride!r}.")
        self.num_outs = num_outs
        self.levels = [round(math.log2(stride / scale)) for scale in SCALES]
        for level, scale in zip(self.levels, SCALES, strict=True):
            layers, channels = rescaling(scale, in_channels)
            layers += [
                NormedConv(channels, out_channels, 1),
                NormedConv(out_channels, out_channels, 3),
            ]
            self.add_module(f"simfp_{level}", nn.Sequential(*layers))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One map (B, C, H, W) -> ``num_outs`` maps, finest first.

        Raises:
            UserError: there is not exactly one input map.
        """
        if len(inputs) != 1:
            raise UserError(
                "SimpleFeaturePyramid takes one feature map, but the backbone returns "
                f"{len(inputs)}: set out_indices of the backbone to the last stage only, or use "
                "FPN."
            )
        outs = [getattr(self, f"simfp_{level}")(inputs[0]) for level in self.levels]
        for _ in range(self.num_outs - len(outs)):
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)


def rescaling(scale: float, channels: int) -> tuple[list[nn.Module], int]:
    """Layers that scale a map with C channels by 4, 2, 1 or 0.5, and the channels after them."""
    if scale == 4:
        return [
            nn.ConvTranspose2d(channels, channels // 2, 2, stride=2),
            ChannelLayerNorm(channels // 2, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 2, channels // 4, 2, stride=2),
        ], channels // 4
    if scale == 2:
        return [nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)], channels // 2
    return ([] if scale == 1 else [nn.MaxPool2d(2, stride=2)]), channels
