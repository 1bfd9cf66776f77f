"""Depthwise-separable convolutions for light necks and heads."""

from __future__ import annotations

from typing import Any

from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_maskr.errors import UserError


class SeparableConv2d(nn.Module):
    """A depthwise convolution, followed by a 1x1 convolution.

    For k x k kernels with C input and D output channels, it needs C (k k + D) multiplications per
    cell instead of C D k k (Howard et al. 2017, MobileNets). There is no normalization in between,
    as in EfficientDet.

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: k, larger than 1.
        stride: of the depthwise convolution.
        padding: of the depthwise convolution.
        dilation: of the depthwise convolution.
        groups: 1.
        bias: of the 1x1 convolution.

    Raises:
        UserError: groups is not 1.
    """

    transposed = False
    output_padding = (0, 0)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if groups != 1:
            raise UserError(
                f"conv_cfg of type SeparableConv2d works only with groups=1, not {groups}."
            )
        self.depthwise = nn.Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups=in_channels,
            bias=False,
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        # what mmcv's ConvModule asks of a convolution
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = self.depthwise.kernel_size, self.depthwise.stride
        self.padding, self.dilation = self.depthwise.padding, self.depthwise.dilation
        self.init_weights()

    def init_weights(self) -> None:
        """Kaiming's initialization by the number of inputs, so that the deviation stays 1."""
        nn.init.kaiming_normal_(self.depthwise.weight, nonlinearity="linear")
        nn.init.kaiming_normal_(self.pointwise.weight, nonlinearity="relu")
        if self.pointwise.bias is not None:
            nn.init.zeros_(self.pointwise.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        return self.pointwise(self.depthwise(x))


@MODELS.register_module(name="SeparableConv2d")
def build_separable_conv(
    in_channels: int, out_channels: int, kernel_size: int, **options: Any
) -> nn.Module:
    """``conv_cfg=dict(type='SeparableConv2d')``: 1x1 convolutions, as FPN has them, stay dense.

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: k.
        options: of :class:`SeparableConv2d`.
    """
    kind = nn.Conv2d if kernel_size == 1 else SeparableConv2d
    return kind(in_channels, out_channels, kernel_size, **options)
