"""The mask and the keypoint branch of the graph, on the detections alone."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet_maskr.deploy.export.pooling import Pooler, in_order
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.mask_heads.predictors import PixelLogits, SoftmaxOverClasses


def shared(head: nn.Module) -> nn.Module | None:
    """The RoI head's shared head, C4's res5; None where there is none."""
    return head.shared_head if head.with_shared_head else None


class MaskBranch(nn.Module):
    """Mask probabilities of the label's channel."""

    def __init__(self, head: nn.Module, kernels: ModuleType) -> None:
        super().__init__()
        if head.share_roi_extractor:
            extractor, option = head.bbox_roi_extractor, "roi_head.bbox_roi_extractor"
        else:
            extractor, option = head.mask_roi_extractor, "roi_head.mask_roi_extractor"
        self.pooler = Pooler(option, extractor, kernels)
        self.shared_head = shared(head)
        self.head = head.mask_head

    def forward(self, features: tuple[Tensor, ...], boxes: Tensor, labels: Tensor) -> Tensor:
        """(D, m, m) probabilities for boxes (D, 4) and labels (D,)."""
        pooled, order = self.pooler(features, boxes)
        of_row = labels if order is None else labels[order]
        if self.shared_head is not None:
            pooled = self.shared_head(pooled)
        return in_order(self._probabilities(pooled, of_row), order)

    def _probabilities(self, pooled: Tensor, labels: Tensor) -> Tensor:
        head = self.head
        if not isinstance(head, ComposedMaskHead):
            return _channel(head(pooled), labels, head.class_agnostic).sigmoid()
        if head.selects_channel and isinstance(head._logits, PixelLogits):
            x = head.convs(pooled)
            if head.upsample is not None:
                x = head.upsample(x)
                if isinstance(head.upsample, nn.ConvTranspose2d):
                    x = F.relu(x)
            # one channel for each RoI, in place of all K
            weight = head.conv_logits.weight.flatten(1)[labels][:, None]
            bias = head.conv_logits.bias[labels][:, None]
            # sides are constants: of sizes that are all read from x, ONNX Runtime makes a -1, which
            # fails where there is no RoI
            count, (channels, height, width) = x.shape[0], map(int, x.shape[1:])
            logits = torch.matmul(weight, x.reshape(count, channels, height * width))[:, 0] + bias
            return logits.reshape(count, height, width).sigmoid()
        logits = head(pooled)
        chosen = _channel(logits, labels, head.class_agnostic)
        if isinstance(head.predictor, SoftmaxOverClasses):
            return (chosen - logits.logsumexp(1)).exp()
        return chosen.sigmoid()


def _channel(logits: Tensor, labels: Tensor, class_agnostic: bool) -> Tensor:
    """(N, m, m) of each label's channel, of logits (N, channels, m, m)."""
    if class_agnostic:
        return logits[:, 0]
    index = labels[:, None, None, None].expand(-1, 1, logits.shape[2], logits.shape[3])
    return logits.gather(1, index)[:, 0]


class KeypointBranch(nn.Module):
    """Heatmaps of those detections whose class has keypoints."""

    def __init__(self, head: nn.Module, kernels: ModuleType) -> None:
        super().__init__()
        option = "keypoint" if hasattr(head, "keypoint_roi_extractor") else "bbox"
        self.pooler = Pooler(f"roi_head.{option}_roi_extractor", head.keypoint_extractor, kernels)
        self.shared_head = shared(head)
        self.head = head.keypoint_head

    def forward(
        self, features: tuple[Tensor, ...], boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (P, K, S, S), and (P,) which of the boxes (D, 4) each is of."""
        chosen = torch.zeros_like(labels, dtype=torch.bool)
        if self.head.keypoint_labels is None:
            chosen = ~chosen
        else:
            for label in self.head.keypoint_labels:
                chosen = chosen | (labels == label)
        rows = chosen.nonzero()[:, 0]
        pooled, order = self.pooler(features, boxes[rows])
        if self.shared_head is not None:
            pooled = self.shared_head(pooled)
        return self.head(pooled), rows if order is None else rows[order]
