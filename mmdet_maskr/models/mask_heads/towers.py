"""Towers of the mask branch: RoI features in, what the predictor reads out.

Symbols: N RoIs, C channels in, s x s RoI features, W width, m x m the mask, K classes.

| tower | paper | layers | gives |
|---|---|---|---|
| fcn | Figure 4 right | ``num_convs`` 3x3 convolutions, then upsampling | (N, W, m, m) |
| res5 | Figure 4 left | none: features are res5's; then upsampling | (N, W, m, m) |
| mlp | Table 2e | ``num_fcs`` fully connected layers on the flattened features | (N, W) |
"""

from __future__ import annotations

import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_upsample_layer
from mmdet.utils import OptConfigType
from mmengine.model import ModuleList
from torch import Tensor, nn

from mmdet_maskr.errors import UserError

TOWERS = ("fcn", "mlp", "res5")
UPSAMPLINGS = ("deconv", "bilinear", "nearest", None)
MAX_CONVS = 8


class FCNTower(ModuleList):
    """Convolutions that keep the resolution; with none, the features as they are.

    Args:
        num_convs: how many, 0 to 8.
        in_channels: C.
        width: W.
        kernel_size: odd.
        conv_cfg: type of convolution, as in mmcv's ConvModule.
        norm_cfg: normalization, as in mmcv's ConvModule.
    """

    def __init__(
        self,
        num_convs: int,
        in_channels: int,
        width: int,
        kernel_size: int = 3,
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(
            ConvModule(
                in_channels if i == 0 else width,
                width,
                kernel_size,
                padding=kernel_size // 2,
                conv_cfg=conv_cfg,
                norm_cfg=norm_cfg,
            )
            for i in range(num_convs)
        )
        self.out_channels = width if num_convs else in_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, s, s) -> (N, W, s, s)."""
        for conv in self:
            x = conv(x)
        return x


class MLPTower(ModuleList):
    """Fully connected layers with ReLU on the flattened RoI features.

    Args:
        num_fcs: how many, 1 or more.
        in_features: C * s * s.
        width: W.
    """

    def __init__(self, num_fcs: int, in_features: int, width: int) -> None:
        super().__init__(nn.Linear(in_features if i == 0 else width, width) for i in range(num_fcs))
        self.out_channels = width

    def init_weights(self) -> None:
        """Xavier's initialization, as in mmdet's fully connected box heads."""
        super().init_weights()
        for layer in self:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, s, s) -> (N, W)."""
        x = x.flatten(1)
        for layer in self:
            x = F.relu(layer(x))
        return x


def build_upsampling(
    method: str | None, scale_factor: int, in_channels: int, width: int
) -> tuple[nn.Module | None, int]:
    """Upsampling between tower and predictor; a deconvolution is meant to be followed by ReLU.

    Args:
        method: one of :data:`UPSAMPLINGS`.
        scale_factor: how much larger the mask is.
        in_channels: channels of the tower's output.
        width: channels that a deconvolution gives.

    Returns:
        The layer (None for none) and its number of output channels.
    """
    if method is None:
        return None, in_channels
    if method == "deconv":
        layer = build_upsample_layer(
            dict(
                type="deconv",
                in_channels=in_channels,
                out_channels=width,
                kernel_size=scale_factor,
                stride=scale_factor,
            )
        )
        return layer, width
    align_corners = False if method == "bilinear" else None
    return (
        nn.Upsample(scale_factor=scale_factor, mode=method, align_corners=align_corners),
        in_channels,
    )


def check_known(tower: str) -> None:
    """Refuse a tower that there is none of.

    Raises:
        UserError: with the accepted values.
    """
    if tower not in TOWERS:
        raise UserError(f"mask_head.tower must be one of {TOWERS}, not {tower!r}.")


def check_tower(tower: str, num_convs: int, num_fcs: int, kernel_size: int) -> None:
    """Refuse options that a tower lacks.

    Raises:
        UserError: with the option's name and the accepted values.
    """
    check_known(tower)
    if tower == "fcn" and not 0 <= num_convs <= MAX_CONVS:
        raise UserError(f"mask_head.num_convs must be 0 to {MAX_CONVS}, not {num_convs!r}.")
    if tower != "fcn" and num_convs != 0:
        raise UserError(
            f"mask_head.num_convs={num_convs} has no effect with tower={tower!r}, which has "
            "no convolutions: set num_convs=0, or tower='fcn'."
        )
    if tower == "mlp" and num_fcs < 1:
        raise UserError(f"mask_head.num_fcs must be at least 1 (Table 2e: 2 or 3), not {num_fcs}.")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise UserError(
            f"mask_head.conv_kernel_size must be odd, so that features keep their size, not "
            f"{kernel_size}."
        )


def check_upsampling(upsample_cfg: dict) -> tuple[str | None, int]:
    """Method and factor of ``upsample_cfg``.

    Raises:
        UserError: another method, a factor that is no positive integer, further options.
    """
    options = dict(upsample_cfg)
    method = options.pop("type", "deconv")
    factor = options.pop("scale_factor", 1 if method is None else 2) or 1
    if options:
        raise UserError(
            f"mask_head.upsample_cfg has unknown options {sorted(options)}; it takes type and "
            "scale_factor."
        )
    if method not in UPSAMPLINGS:
        raise UserError(
            f"mask_head.upsample_cfg.type must be one of {UPSAMPLINGS}, not {method!r}; "
            "mask_head.type='FCNMaskHead' takes further ones."
        )
    if int(factor) != factor or factor < 1 or (method is None and factor != 1):
        raise UserError(
            f"mask_head.upsample_cfg.scale_factor must be a positive integer (1 for type=None), "
            f"not {factor!r}."
        )
    return method, int(factor)
