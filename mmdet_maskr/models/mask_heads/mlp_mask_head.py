"""Mask heads of fully connected layers (He et al. 2017, Table 2e)."""

from __future__ import annotations

from typing import cast

from mmdet.utils import OptConfigType
from torch import Tensor, nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads import predictors, towers
from mmdet_maskr.models.mask_heads.mask_head import ComposedMaskHead


class MLPMaskHead(ComposedMaskHead, towers=("mlp",)):
    """ComposedMaskHead of fully connected layers, the last of which gives m x m logits a class.

    Parameters are named ``fcs.*`` and ``fc_logits.*``.
    """

    def build_layers(
        self,
        *,
        num_fcs: int,
        fc_out_channels: int,
        in_channels: int,
        upsample_cfg: OptConfigType,
        predictor_cfg: OptConfigType,
        **of_other_towers,
    ) -> None:
        """Make the layers.

        Raises:
            UserError: an option that does nothing here.
        """
        if upsample_cfg is not None:
            raise UserError(
                "mask_head.upsample_cfg has no effect with tower='mlp', whose last layer "
                "returns mask_size x mask_size: leave it out."
            )
        if not predictors.is_plain(predictor_cfg):
            raise UserError(
                f"mask_head.predictor_cfg={predictor_cfg} has no effect with tower='mlp', whose "
                "last layer is fully connected: leave it out."
            )
        self.roi_feat_size = self.roi_feat_size or 14
        self.mask_size = self.mask_size or 28
        self.upsample = None
        self.fcs = towers.MLPTower(num_fcs, in_channels * self.roi_feat_size**2, fc_out_channels)
        self.fc_logits = predictors.VectorLogits(
            fc_out_channels, self.predictor.out_channels, self.mask_size
        )

    @property
    def logits_layer(self) -> nn.Module:
        return self.fc_logits

    def given_size(self, roi_feat_size: int) -> tuple[int, str]:
        return cast(int, self.mask_size), "mask_head.mask_size"

    def masks_of(self, x: Tensor, channels: Tensor | None) -> Tensor:
        """See :meth:`.ComposedMaskHead.masks_of`.

        Raises:
            UserError: RoI features of another size than the first layer reads.
        """
        if x.shape[2:] != (self.roi_feat_size, self.roi_feat_size):
            raise UserError(
                f"mask_head.roi_feat_size={self.roi_feat_size}, but RoI features are "
                f"{x.shape[2]} x {x.shape[3]}."
            )
        return self.fc_logits(self.fcs(x), channels)
