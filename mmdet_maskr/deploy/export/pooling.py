"""RoI features from a pyramid, level by level."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor, nn

from mmdet_maskr.deploy.export import accepted
from mmdet_maskr.models.roi_extractors.levels import assign_levels


class Pooler(nn.Module):
    """A RoI extractor without parameters.

    Args:
        option: the extractor's name in a config.
        extractor: LevelRoIExtractor or SingleRoIExtractor.
        kernels: module with ``roi_align``.

    Raises:
        UserError: the extractor or its layer cannot be exported.
    """

    def __init__(self, option: str, extractor: nn.Module, kernels: ModuleType) -> None:
        super().__init__()
        self.pooling = accepted.pooling_of(option, extractor)
        self.kernels = kernels

    def forward(self, features: tuple[Tensor, ...], boxes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features of boxes (N, 4).

        Returns:
            (N, C, height, width), sorted by level; and (N,) the index of each box, None if they are
            in the order of the boxes. So features are not copied only to restore their order.
        """
        scales = self.pooling.scales
        if len(scales) == 1:
            return self._pool(features[0], boxes, scales[0]), None
        rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
        levels = assign_levels(rois, len(scales), *self.pooling.level_rule)
        pooled, order = [], []
        for level, scale in enumerate(scales):
            inside = (levels == level).nonzero()[:, 0]
            pooled.append(self._pool(features[level], boxes[inside], scale))
            order.append(inside)
        return torch.cat(pooled), torch.cat(order)

    def _pool(self, feature: Tensor, boxes: Tensor, scale: float) -> Tensor:
        pooling = self.pooling
        return self.kernels.roi_align(
            feature, boxes, pooling.output_size, scale, pooling.sampling_ratio, pooling.aligned
        )


def in_order(values: Tensor, order: Tensor | None) -> Tensor:
    """Rows of ``values`` (N, ...) in the order of the boxes.

    Args:
        values: one row per RoI, sorted by level.
        order: (N,) indices from :class:`Pooler`, or None.
    """
    if order is None:
        return values
    places = torch.zeros_like(order).scatter(0, order, torch.arange(order.shape[0]).to(order))
    return values[places]
