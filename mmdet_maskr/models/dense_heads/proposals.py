"""Selects the best anchors of each level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from mmdet_maskr.ops.constants import constant, numbered


def best_of_levels(
    ranks: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Tensor,
    nms_pre: int,
    best: Callable[[Tensor, int], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best anchors of each level, for a batch of B images.

    Args:
        ranks: for each level (B, n_l), larger ones are better.
        deltas: for each level (B, 4 A, H_l, W_l) with A anchors of a cell, n_l = A H_l W_l.
        anchors: (n, 4), level by level, n the sum of n_l.
        nms_pre: how many of a level at most; no limit if not positive.
        best: a convention's.

    Returns:
        Ranks (B, K), deltas (B, K, 4), anchors (B, K, 4) and the level (K,) of each.
    """
    best_ranks, places = [], []
    for own in ranks:
        own, index = best(own, min(nms_pre, own.shape[1]) if nms_pre > 0 else own.shape[1])
        best_ranks.append(own)
        places.append(index)
    counts = [index.shape[1] for index in places]
    level_ids = numbered(counts, ranks[0])
    if len(ranks) == 1:
        rows = places[0]
    else:
        starts = [0, *accumulate(own.shape[1] for own in ranks)]
        rows = torch.cat(places, 1) + constant(starts[:-1], places[0])[level_ids]
    if rows.device.type == "cpu":  # a copy of each level's deltas, which takes its time there
        found = torch.cat(
            [_rows(joined([own], 4), at) for own, at in zip(deltas, places, strict=True)], 1
        )
    else:
        found = _rows(joined(deltas, 4), rows)
    return torch.cat(best_ranks, 1), found, anchors[rows], level_ids


def joined(levels: Sequence[Tensor], width: int) -> Tensor:
    """(B, n, width) of all levels, cell by cell, from (B, A * width, H_l, W_l) of each."""
    every = torch.cat([own.flatten(2) for own in levels], 2) if len(levels) > 1 else levels[0]
    return every.flatten(2).transpose(1, 2).reshape(len(every), -1, width)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """(B, k, 4) rows of values (B, n, 4) by index (B, k)."""
    return values.gather(1, index[..., None].expand(-1, -1, 4))
