"""Anchors, deltas and selection of boxes without data-dependent branches or loops.

The number of boxes would depend on the image; here it is fixed, by padding with boxes below every
score threshold. Symbols: A anchors per cell, N RoIs, K classes, D detections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

NOTHING = -1e30  # score of padding
NOTHING_THRESHOLD = -1e29


class Coder(NamedTuple):
    """Decodes deltas to boxes; see mmdet's DeltaXYWHBBoxCoder and our WeightedBoxCoder.

    If ``weights`` is given, deltas are divided by it; otherwise they are multiplied by ``stds``.
    ``smallest`` and ``largest`` limit the logarithm of the scale factor.
    """

    means: tuple[float, ...]
    stds: tuple[float, ...]
    weights: tuple[float, ...] | None
    smallest: float | None
    largest: float
    clip: bool

    def decode(self, boxes: Tensor, deltas: Tensor, limits: Tensor) -> Tensor:
        """Boxes (N, k, 4), xyxy, from boxes (N, 4) and deltas (N, k, 4).

        Args:
            boxes: anchors or RoIs, xyxy.
            deltas: k for each box.
            limits: (4,) width, height, width, height of the image to clip to.
        """
        if self.weights is None:
            deltas = deltas * deltas.new_tensor(self.stds) + deltas.new_tensor(self.means)
        else:
            deltas = deltas / deltas.new_tensor(self.weights)
        sizes = (boxes[:, 2:] - boxes[:, :2])[:, None]
        centers = (boxes[:, :2] + boxes[:, 2:])[:, None] * 0.5 + sizes * deltas[..., :2]
        halves = sizes * deltas[..., 2:].clamp(min=self.smallest, max=self.largest).exp() * 0.5
        decoded = torch.cat([centers - halves, centers + halves], -1)
        if self.clip:
            decoded = torch.minimum(decoded.clamp(min=0), limits)
        return decoded

    def decode_finite(self, boxes: Tensor, deltas: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`decode`, plus (N, k) whether each box was finite; others are all zeros."""
        decoded = self._replace(clip=False).decode(boxes, deltas, limits)
        finite = is_finite(decoded).all(-1)
        decoded = torch.where(finite[..., None], decoded, torch.zeros_like(decoded))
        if self.clip:
            decoded = torch.minimum(decoded.clamp(min=0), limits)
        return decoded, finite


def is_finite(values: Tensor) -> Tensor:
    """Whether values are neither infinite nor NaN, with operators that every format has.

    Args:
        values: (N, ...); the result has the same shape.
    """
    return values - values == 0


def mmdet_coder(
    means: Sequence[float], stds: Sequence[float], clip: bool, wh_ratio_clip: float = 16 / 1000
) -> Coder:
    """The coder of DeltaXYWHBBoxCoder."""
    largest = abs(math.log(wh_ratio_clip))
    return Coder(tuple(means), tuple(stds), None, -largest, largest, clip)


def weighted_coder(weights: Sequence[float], largest: float, clip: bool) -> Coder:
    """The coder of WeightedBoxCoder, which limits only the growth of boxes."""
    return Coder((0.0,) * 4, (1.0,) * 4, tuple(weights), None, largest, clip)


def anchors_at(index: Tensor, base: Tensor, columns: Tensor, stride: tuple[int, int]) -> Tensor:
    """Anchors (P, 4) at given positions of a level.

    Args:
        index: (P,) int64, (row * columns + column) * A + anchor.
        base: (A, 4) anchors about the first cell.
        columns: int64, width of the map.
        stride: (x, y) in pixels.
    """
    count = base.shape[0]
    cell = torch.div(index, count, rounding_mode="trunc")
    row = torch.div(cell, columns, rounding_mode="trunc")
    column = cell - row * columns
    corner = torch.stack([column * stride[0], row * stride[1]], 1).to(base)
    return base[index - cell * count] + torch.cat([corner, corner], 1)


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` best scores of (M,), padded with :data:`NOTHING` if M is smaller.

    Returns:
        Scores (count,), highest first, and indices (count,), below M except in the padding.
    """
    padded = torch.cat([scores, scores.new_full((count,), NOTHING)])
    return padded.topk(count)


def something(scores: Tensor) -> Tensor:
    """Indices of the scores (M,) that are not padding."""
    return (scores > NOTHING_THRESHOLD).nonzero()[:, 0]
