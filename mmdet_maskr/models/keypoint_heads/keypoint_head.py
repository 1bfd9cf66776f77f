"""The keypoint branch's head: a heatmap for each keypoint (He et al. 2017, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.keypoint_heads.codec import HeatmapCodec
from mmdet_maskr.ops.constants import constant

NORMALIZERS = ("visible", "fixed")


@MODELS.register_module()
class HeatmapKeypointHead(BaseModule):
    """Keypoint head: 3x3 convolutions, a deconvolution by 2, bilinear upsampling.

    With the paper's options 14x14 RoI features become 56x56 heatmaps, one for each keypoint, each a
    softmax over its cells. Same parameters and arithmetic as Detectron2's
    KRCNNConvDeconvUpsampleHead and torchvision's KeypointRCNNHeads and KeypointRCNNPredictor:
    ``convs.{i}.conv`` is their convolution i, ``score_lowres`` the deconvolution.

    Args:
        num_keypoints: K.
        num_convs: number of 3x3 convolutions.
        in_channels: channels of the RoI features.
        conv_out_channels: width of the convolutions.
        upsample_ratio: factor of the bilinear upsampling after the deconvolution; 1 for none.
        keypoint_labels: labels of the classes that have keypoints; None for all. Others get neither
            keypoint loss nor keypoints.
        loss_normalizer: the sum of the cross entropies is divided by the number of 'visible'
            keypoints in RoIs, or by a 'fixed' number, that of a batch full of positive RoIs whose
            keypoints are all visible. Detectron2's configs with 'fixed' have ``loss_weight=4``.
        loss_weight: weight of the loss.
        score: 'probability' or 'logit', see :class:`.HeatmapCodec`.
        conv_cfg: type of the convolutions.
        norm_cfg: their normalization.

    Raises:
        UserError: an option is out of range; the message has the accepted values.
    """

    def __init__(
        self,
        num_keypoints: int = 17,
        num_convs: int = 8,
        in_channels: int = 256,
        conv_out_channels: int = 512,
        upsample_ratio: int = 2,
        keypoint_labels: Sequence[int] | None = None,
        loss_normalizer: str = "visible",
        loss_weight: float = 1.0,
        score: str = "probability",
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("num_keypoints", num_keypoints, 1),
            ("num_convs", num_convs, 0),
            ("upsample_ratio", upsample_ratio, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise UserError(
                    f"keypoint_head.{name} must be an integer of at least {least}, not {value!r}."
                )
        if loss_normalizer not in NORMALIZERS:
            raise UserError(
                f"keypoint_head.loss_normalizer must be one of {NORMALIZERS}, "
                f"not {loss_normalizer!r}."
            )
        self.num_keypoints = num_keypoints
        self.upsample_ratio = upsample_ratio
        self.keypoint_labels = None if keypoint_labels is None else sorted(set(keypoint_labels))
        self.loss_normalizer = loss_normalizer
        self.loss_weight = loss_weight
        self.codec = HeatmapCodec(score)
        widths = [in_channels] + [conv_out_channels] * num_convs
        self.convs = nn.ModuleList(
            ConvModule(before, after, 3, padding=1, conv_cfg=conv_cfg, norm_cfg=norm_cfg)
            for before, after in pairwise(widths)
        )
        self.score_lowres = nn.ConvTranspose2d(widths[-1], num_keypoints, 4, stride=2, padding=1)

    def init_weights(self) -> None:
        """Kaiming (fan out) weights and zero biases for every layer, as in Detectron2."""
        super().init_weights()
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def has_keypoints(self, labels: Tensor) -> Tensor:
        """Whether the classes of ``labels`` (D,) have keypoints, (D,) bool."""
        if self.keypoint_labels is None:
            return torch.ones_like(labels, dtype=torch.bool)
        return torch.isin(labels, constant(self.keypoint_labels, labels))

    def forward(self, x: Tensor) -> Tensor:
        """Heatmap logits (N, K, S, S) of RoI features (N, C, s, s); S = 2 s upsample_ratio."""
        for conv in self.convs:
            x = conv(x)
        x = self.score_lowres(x)
        if self.upsample_ratio > 1:
            x = F.interpolate(
                x, scale_factor=self.upsample_ratio, mode="bilinear", align_corners=False
            )
        return x

    def loss(
        self, logits: Tensor, cells: Tensor, valid: Tensor, full_count: float | None = None
    ) -> Tensor:
        """Cross entropy over the S x S cells, of the valid keypoints only.

        Args:
            logits: (N, K, S, S).
            cells: (N, K) target cells, see :meth:`.HeatmapCodec.encode`.
            valid: (N, K) whether each keypoint counts.
            full_count: divisor of the 'fixed' normalizer; not used by others.

        Returns:
            The loss; zero, with a graph, where no keypoint is valid.
        """
        if not valid.any():
            return logits.sum() * 0
        total = F.cross_entropy(logits.flatten(2)[valid], cells[valid], reduction="sum")
        count = valid.sum() if self.loss_normalizer == "visible" else full_count
        return self.loss_weight * total / count
