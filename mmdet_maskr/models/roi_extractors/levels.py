"""Which pyramid level a RoI is pooled from (Lin et al. 2017, Feature Pyramid Networks, eq. 1).

All three codebases compute ``k = floor(k0 + log2(sqrt(area) / s0))`` with k0 = 4 and s0 = 224, and
add a small number against rounding, each at another place. It decides for boxes at a threshold,
such as 112 x 112 pixels, and all do it in float32: the rules below repeat the operations in order.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _mmdet(scale: Tensor, size: float, level: int, finest: int) -> Tensor:
    # SingleRoIExtractor divides by its finest_scale, the canonical size seen from level 0.
    return torch.floor(torch.log2(scale / (size * 2.0 ** (finest - level)) + 1e-6))


def _detectron2(scale: Tensor, size: float, level: int, finest: int) -> Tensor:
    return torch.floor(level + torch.log2(scale / size + 1e-8)) - finest


def _torchvision(scale: Tensor, size: float, level: int, finest: int) -> Tensor:
    return torch.floor(level + torch.log2(scale / size) + 1e-6) - finest


LEVEL_RULES = dict(mmdet=_mmdet, detectron2=_detectron2, torchvision=_torchvision)


def assign_levels(
    rois: Tensor,
    num_levels: int,
    canonical_size: float = 224,
    canonical_level: int = 4,
    finest_level: int = 2,
    rule: str = "mmdet",
) -> Tensor:
    """Pyramid level of each RoI.

    Args:
        rois: (N, 5): image index, x1, y1, x2, y2 in pixels of the image.
        num_levels: levels that there are; RoIs outside go to the nearest.
        canonical_size: sqrt(area) in pixels of the RoIs that belong to ``canonical_level``.
        canonical_level: level k has stride 2**k.
        finest_level: the level that index 0 stands for.
        rule: where the epsilon is, a key of :data:`LEVEL_RULES`.

    Returns:
        (N,) int64 in [0, num_levels); RoIs without area are on level 0.
    """
    scale = torch.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
    level = LEVEL_RULES[rule](scale, canonical_size, canonical_level, finest_level)
    return level.clamp(min=0, max=num_levels - 1).long()
