"""Which pyramid level a RoI is pooled from (Lin et al. 2017, Feature Pyramid Networks, eq. 1).

All three codebases compute ``k = floor(k0 + log2(sqrt(area) / s0))`` with k0 = 4 and s0 = 224, and
add a small number against rounding, each at another place. It decides for boxes at a threshold,
such as 112 x 112 pixels, and all do it in float32: :mod:`mmdet_maskr.conventions` repeats the
operations in order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmdet_maskr import conventions


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
        rule: where the epsilon is, a convention's name.

    Returns:
        (N,) int64 in [0, num_levels); RoIs without area are on level 0.
    """
    width, height = (rois[:, 3:] - rois[:, 1:3]).unbind(1)
    scale = torch.sqrt(width * height)
    convention = conventions.find("level_rule", rule, "roi_level")
    level = convention.roi_level(scale, canonical_size, canonical_level, finest_level)
    return level.clamp(min=0, max=num_levels - 1).long()
