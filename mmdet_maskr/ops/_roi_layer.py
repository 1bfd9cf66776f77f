"""What the RoI layers share: a module without parameters, and pooling level by level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmdet_maskr.ops import _checks


class RoILayer(nn.Module):
    """Base of the RoI layers: ``layer(features, rois)`` as in mmcv, and a whole pyramid at once.

    Args:
        output_size: bins (height, width), or one number for both.
        spatial_scale: pixels of the feature map per pixel of the image, 1 / stride.
    """

    pyramid: ClassVar[Callable[..., Tensor]]  # pools from a pyramid
    options: ClassVar[tuple[str, ...]] = ()  # attributes that it takes by name

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float = 1.0) -> None:
        super().__init__()
        self.output_size = _checks.check_output_size(output_size)
        self.spatial_scale = _checks.check_spatial_scale(spatial_scale)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Pool (N, 5) RoIs from features (B, C, H, W) to (N, C, height, width)."""
        return self.pool_pyramid([features], rois, None, [self.spatial_scale])

    def pool_pyramid(
        self,
        features: Sequence[Tensor],
        rois: Tensor,
        levels: Tensor | None,
        spatial_scales: Sequence[float],
    ) -> Tensor:
        """Pool each of (N, 5) RoIs from its level, (N,), to (N, C, height, width)."""
        options = {name: getattr(self, name) for name in self.options}
        pool = type(self).pyramid
        return pool(features, rois, levels, self.output_size, spatial_scales, **options)

    def extra_repr(self) -> str:
        options = {k: v for k, v in vars(self).items() if not k.startswith("_") and k != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())


def pool_per_level(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    pool: Callable[[int, Tensor], Tensor],
) -> Tensor:
    """Call ``pool(level, rois of the level)`` for each level and put the results in order.

    Levels without RoIs are called too: each keeps its place in the graph, and distributed training
    never waits for a gradient.

    Args:
        features: for each level (B, C, H_l, W_l).
        rois: (N, 5).
        levels: (N,) the level of each.
        pool: pools RoIs from a level.
    """
    if len(features) == 1:
        return pool(0, rois)
    where = [(levels == level).nonzero().squeeze(1) for level in range(len(features))]
    pooled = torch.cat([pool(level, rois[index]) for level, index in enumerate(where)])
    return pooled[torch.cat(where).argsort()]


def without_rois(features: Tensor, output_size: tuple[int, int]) -> Tensor:
    """(0, C, height, width), in the graph of the features."""
    empty = features.new_zeros(0, features.shape[1], *output_size)
    return empty + features[:0].sum()
