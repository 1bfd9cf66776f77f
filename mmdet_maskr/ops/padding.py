"""Rows of several images as one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def padded(rows: Sequence[Tensor], fill: float = 0, least: int = 0) -> Tensor:
    """Tensors (n_i, ...) of B images as (B, n, ...), n the largest n_i, with ``fill`` below.

    Args:
        rows: of each image, alike but for n_i.
        fill: what rows that are not there hold.
        least: n at least.
    """
    most = max(least, *(len(own) for own in rows))
    if all(len(own) == most for own in rows):
        return torch.stack(list(rows))
    whole = rows[0].new_full((len(rows), most, *rows[0].shape[1:]), fill)
    for place, own in zip(whole, rows, strict=True):
        place[: len(own)] = own
    return whole


def with_rows(rows: Tensor, count: int) -> Tensor:
    """Pad a tensor (N, ...) with zero rows to (count, ...); unchanged if N is ``count``."""
    if len(rows) == count:
        return rows
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])


def first_rows(tensors: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The first ``count`` rows of each tensor, without the padding of :func:`with_rows`."""
    return {name: value[:count] for name, value in tensors.items()}
