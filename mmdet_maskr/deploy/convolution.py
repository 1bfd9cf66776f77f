"""A convolution fused with normalization, a sum and ReLU; one call on a CPU.

oneDNN computes torch's convolutions on CPUs. It can add a map and apply ReLU while the result is in
the cache, and it accepts weights in its own memory format. torch offers both as
``torch.ops.mkldnn`` operators, which torch.compile also uses. In all other cases (another device or
type, autocast, tracing), public operators compute the same.

Symbols: B images, C channels in, D channels out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.wrappers import Conv2d as MMCVConv2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.deploy import winograd
from mmdet_maskr.models.layers import SeparableConv2d, UnfusedFrozenBN

PLAIN_CONVOLUTIONS = (nn.Conv2d, MMCVConv2d)  # exact types: subclasses may compute anything


class FusedConv2d(nn.Module):
    """A convolution with fused normalization, sum and ReLU; for inference only.

    Args:
        conv: a convolution that :func:`can_fuse` accepts; its weights are copied.
        norm: normalization after it that :func:`can_fold` accepts, or None.
        relu: whether to apply ReLU last.
        limit: upper limit of the ReLU, 6 for ReLU6; None for no limit.
    """

    def __init__(
        self, conv: nn.Conv2d, norm: nn.Module | None, relu: bool, limit: float | None = None
    ) -> None:
        super().__init__()
        weight, bias = conv.weight, conv.bias
        if norm is not None:
            weight, bias = fold(conv, norm)
        weight = weight.detach().clone(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), False)
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        self.groups = conv.groups
        self.relu = relu
        self.limit = limit
        self._packed: Tensor | None = None
        self._winograd: winograd.WinogradConvolution | None = None

    def forward(self, x: Tensor, added: Tensor | None = None, relu: bool | None = None) -> Tensor:
        """Convolve.

        Args:
            x: (B, C, H, W); channels_last is the fast format.
            added: (B, D, H', W') to add to the result; on a CPU, the result overwrites it.
            relu: overrides the layer's setting.

        Returns:
            (B, D, H', W').
        """
        relu = self.relu if relu is None else relu
        halved = (
            added is None
            and self.limit is None
            and self._is_plain
            and winograd.suits(x, self.weight)
        )
        if halved and x.device.type == "cpu" and torch.compiler.is_compiling():
            return self._uncompiled(x, relu)
        if self._runs_fused(x):
            if halved:
                if self._winograd is None:
                    self._winograd = winograd.WinogradConvolution(self.weight, self.bias)
                return self._winograd(x, relu)
            return self._fused(x, added, relu)
        y = F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        if added is not None:
            y = y + added
        if self.limit is not None:
            return F.hardtanh(y, 0.0, self.limit) if relu else y
        return F.relu(y) if relu else y

    @torch.compiler.disable  # it would compile the direct way
    def _uncompiled(self, x: Tensor, relu: bool) -> Tensor:
        return self(x, relu=relu)

    @property
    def _is_plain(self) -> bool:
        """Stride 1, padding 1, one group: what a 3x3 kernel needs to keep the map's size."""
        where = (self.stride, self.padding, self.dilation, self.groups)
        return where == ((1, 1), (1, 1), (1, 1), 1)

    def _runs_fused(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return False
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.numel() > 0
            and torch.backends.mkldnn.is_available()
            and not torch.is_autocast_enabled("cpu")
        )

    def _fused(self, x: Tensor, added: Tensor | None, relu: bool) -> Tensor:
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, self.stride, self.dilation, self.groups, list(x.shape)
            )
        where = (self.padding, self.stride, self.dilation, self.groups)
        if added is None:
            name, numbers = "relu" if relu else "none", []
            if relu and self.limit is not None:
                name, numbers = "hardtanh", [0.0, self.limit]
            return torch.ops.mkldnn._convolution_pointwise(
                x, self._packed, self.bias, *where, name, numbers, ""
            )
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            added, x, self._packed, self.bias, *where, "add", 1.0, "relu" if relu else None, [], ""
        )

    def _apply(self, fn, *args, **kwargs) -> FusedConv2d:
        self._packed = self._winograd = None
        return super()._apply(fn, *args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._packed = self._winograd = None
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict:
        return {
            **self.__dict__,
            "_packed": None,
            "_winograd": None,
        }  # oneDNN's order cannot be copied or saved

    def extra_repr(self) -> str:
        return (
            f"{self.weight.shape[1] * self.groups}, {self.weight.shape[0]}, "
            f"kernel_size={tuple(self.weight.shape[2:])}, stride={self.stride}, relu={self.relu}"
        )


class FusedSeparableConv2d(nn.Module):
    """A depthwise-separable convolution with fused normalization and ReLU; for inference only.

    Args:
        conv: the convolution; its weights are copied.
        norm, relu, limit: as in :class:`FusedConv2d`.
    """

    def __init__(
        self,
        conv: SeparableConv2d,
        norm: nn.Module | None,
        relu: bool,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        self.depthwise = FusedConv2d(conv.depthwise, None, relu=False)
        self.pointwise = FusedConv2d(conv.pointwise, norm, relu, limit)

    def forward(self, x: Tensor, relu: bool | None = None) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        return self.pointwise(self.depthwise(x), relu=relu)


def fused(
    conv: nn.Module, norm: nn.Module | None, relu: bool, limit: float | None = None
) -> FusedConv2d | FusedSeparableConv2d | None:
    """The fast form of a plain or depthwise-separable convolution; None for other layers.

    Args:
        conv: the convolution.
        norm, relu, limit: as in :class:`FusedConv2d`.
    """
    if type(conv) is SeparableConv2d:
        hooked = conv._forward_hooks or conv._forward_pre_hooks
        plain = not hooked and can_fuse(conv.depthwise) and can_fuse(conv.pointwise)
        return FusedSeparableConv2d(conv, norm, relu, limit) if plain else None
    return FusedConv2d(conv, norm, relu, limit) if can_fuse(conv) else None


def can_fuse(conv: nn.Module) -> bool:
    """Whether a layer is a plain convolution with zero padding given in pixels."""
    return (
        type(conv) in PLAIN_CONVOLUTIONS
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and not (conv._forward_hooks or conv._forward_pre_hooks)
    )


def can_fold(norm: nn.Module) -> bool:
    """Whether a layer is a scale and an offset per channel in evaluation mode."""
    if isinstance(norm, _BatchNorm):
        return norm.running_mean is not None and not norm.training
    return type(norm) is UnfusedFrozenBN


def fold(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals ``norm(conv(x))``.

    mmcv's fuse_conv_bn fuses layers that are neighbors in a module's list of children, even if the
    forward function calls them in another order (a ConvModule with ``order=('norm', 'conv',
    'act')``, a deconvolution in between), and works in place. Here, pairs come from the forward
    functions of known parts (:mod:`.parts`).

    Returns:
        (D, C / groups, h, w) and (D,), computed in float64, in the convolution's type.
    """
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double()
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    weight = conv.weight.double() * scale[:, None, None, None]
    return weight.to(conv.weight.dtype), shift.to(conv.weight.dtype)
