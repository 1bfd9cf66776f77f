"""MMDetection's conventions."""

from __future__ import annotations

import torch
from torch import Tensor

from mmdet_maskr.conventions.base import Convention
from mmdet_maskr.ops.constants import counting


class MMDet(Convention):
    """Sigmoids are ranked, and levels and classes are moved apart before NMS, of any type."""

    name = "mmdet"
    chooses = False
    ranks_logits = False
    exportable = True

    def roi_level(self, scale: Tensor, size: float, level: int, finest: int) -> Tensor:
        # SingleRoIExtractor divides by its finest_scale, the canonical size seen from level 0.
        return torch.floor(torch.log2(scale / (size * 2.0 ** (finest - level)) + 1e-6))

    def best(self, ranks: Tensor, count: int) -> tuple[Tensor, Tensor]:
        if count == ranks.shape[1]:  # all of them, as they are
            return ranks, counting(count, ranks).expand_as(ranks)
        values, index = ranks.sort(descending=True)  # equal scores in another order than topk's
        return values[:, :count], index[:, :count]
