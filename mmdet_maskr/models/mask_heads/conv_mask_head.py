"""Mask heads whose features keep their place: the FCN, and what follows res5."""

from __future__ import annotations

import torch.nn.functional as F
from mmdet.utils import OptConfigType
from torch import Tensor, nn

from mmdet_maskr.models.mask_heads import predictors, towers
from mmdet_maskr.models.mask_heads.mask_head import ComposedMaskHead
from mmdet_maskr.ops.upsampled_logits import upsampled_logits
from mmdet_maskr.tracing import is_traced


class ConvMaskHead(ComposedMaskHead, towers=("fcn", "res5")):
    """ComposedMaskHead of convolutions, upsampling and a 1x1 convolution.

    Parameters are named ``convs.*``, ``upsample.*`` and ``conv_logits.*``, as FCNMaskHead's.
    """

    def build_layers(
        self,
        *,
        num_convs: int,
        in_channels: int,
        conv_kernel_size: int,
        conv_out_channels: int,
        upsample_cfg: OptConfigType,
        conv_cfg: OptConfigType,
        norm_cfg: OptConfigType,
        predictor_cfg: OptConfigType,
        **of_other_towers,
    ) -> None:
        """Make convolutions, upsampling and predictor."""
        method, self.scale_factor = towers.check_upsampling(upsample_cfg or {})
        if self.roi_feat_size is not None:
            self.mask_size = self.check_sizes(self.roi_feat_size, self.mask_size)
        self.convs = towers.FCNTower(
            num_convs, in_channels, conv_out_channels, conv_kernel_size, conv_cfg, norm_cfg
        )
        self.upsample, channels = towers.build_upsampling(
            method, self.scale_factor, self.convs.out_channels, conv_out_channels
        )
        self.conv_logits = predictors.build_logits(
            predictor_cfg, channels, self.predictor.out_channels
        )

    @property
    def logits_layer(self) -> nn.Module:
        return self.conv_logits

    def given_size(self, roi_feat_size: int) -> tuple[int, str]:
        return (
            roi_feat_size * (self.scale_factor or 1),
            f"RoI features of {roi_feat_size} and upsample_cfg.scale_factor {self.scale_factor}",
        )

    def masks_of(self, x: Tensor, channels: Tensor | None) -> Tensor:
        return self.upsample_and_predict(self.convs(x), channels)

    def upsample_and_predict(self, x: Tensor, channels: Tensor | None) -> Tensor:
        """The layers that follow the tower: (N, W, s, s) -> logits, see :meth:`masks_of`."""
        up, last = self.upsample, self.conv_logits
        by_pixel = isinstance(last, predictors.PixelLogits)
        if isinstance(up, nn.ConvTranspose2d):
            if by_pixel and x.device.type == "cpu" and len(x) and not is_traced():
                return upsampled_logits(x, up.weight, up.bias, last.weight, last.bias, channels)
            x = F.relu(up(x), inplace=True)
        elif up is not None:
            x = up(x)
        if by_pixel:
            return last(x, channels)
        logits = last(x)  # of all channels
        return logits if channels is None else predictors.of_channels(logits, channels)
