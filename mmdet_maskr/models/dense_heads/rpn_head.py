"""The region proposal network, right in mixed precision too."""

from __future__ import annotations

from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class MaskRRPNHead(RPNHead):
    """mmdet's RPNHead, with float32 results whatever the type of the features.

    Thousands of proposals are ranked by their logits: bfloat16 has 8 significant bits, so most
    would be ties, and mmcv's NMS has no kernel for it on a CPU. Options and parameters are those
    of RPNHead.
    """

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, A, H, W) and box deltas (B, 4 A, H, W) of one level with A anchors a cell."""
        logits, deltas = super().forward_single(x)
        return logits.float(), deltas.float()
