"""Which anchors are looked at: the best of each level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmdet_maskr.ops.constants import numbered


def best_of_levels(
    ranks: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    nms_pre: int,
    best: Callable[[Tensor, int], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best anchors of each level, for a batch of B images.

    Args:
        ranks: for each level (B, n_l), larger ones are better.
        deltas: for each level (B, n_l, 4).
        anchors: for each level (n_l, 4).
        nms_pre: how many of a level at most; no limit if not positive.
        best: a convention's.

    Returns:
        Ranks (B, K), deltas (B, K, 4), anchors (B, K, 4) and the level (K,) of each.
    """
    best_ranks, best_deltas, best_anchors, counts = [], [], [], []
    for own, level_deltas, level_anchors in zip(ranks, deltas, anchors, strict=True):
        count = min(nms_pre, own.shape[1]) if nms_pre > 0 else own.shape[1]
        counts.append(count)
        own, index = best(own, count)
        best_ranks.append(own)
        best_deltas.append(level_deltas.gather(1, index[..., None].expand(-1, -1, 4)))
        best_anchors.append(level_anchors[index])
    return (
        torch.cat(best_ranks, 1),
        torch.cat(best_deltas, 1),
        torch.cat(best_anchors, 1),
        numbered(counts, ranks[0]),
    )
