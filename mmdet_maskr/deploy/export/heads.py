"""The mask and keypoint branches of the graph, run on the detections only."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor, nn

from mmdet_maskr.deploy.export.pooling import Pooler, in_order
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.mask_heads.predictors import build_predictor


def shared(head: nn.Module) -> nn.Module | None:
    """The shared head (res5 of C4 models); None if there is none."""
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
        self.takes_labels = isinstance(self.head, ComposedMaskHead)
        if self.takes_labels:
            self.predictor = self.head.predictor
        else:
            self.predictor = build_predictor(
                "sigmoid", self.head.class_agnostic, self.head.num_classes
            )

    def forward(self, features: tuple[Tensor, ...], boxes: Tensor, labels: Tensor) -> Tensor:
        """(D, m, m) probabilities for boxes (D, 4) and labels (D,)."""
        pooled, order = self.pooler(features, boxes)
        of_row = labels if order is None else labels[order]
        if self.shared_head is not None:
            pooled = self.shared_head(pooled)
        logits = self.head(pooled, of_row) if self.takes_labels else self.head(pooled)
        return in_order(self.predictor.probabilities(logits, of_row), order)


class KeypointBranch(nn.Module):
    """Heatmaps of the detections whose class has keypoints."""

    def __init__(self, head: nn.Module, kernels: ModuleType) -> None:
        super().__init__()
        option = "keypoint" if hasattr(head, "keypoint_roi_extractor") else "bbox"
        self.pooler = Pooler(f"roi_head.{option}_roi_extractor", head.keypoint_extractor, kernels)
        self.shared_head = shared(head)
        self.head = head.keypoint_head

    def forward(
        self, features: tuple[Tensor, ...], boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (P, K, S, S), and (P,) the index of each heatmap's box in (D, 4)."""
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
