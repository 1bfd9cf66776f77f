"""mmdet's RandomSampler for all images of a batch on the device, without waiting for it.

mmdet draws a permutation of as many numbers as there are candidates, for which the host must know
their number. Here each candidate gets a random number and the largest are taken: the same
distribution, of other draws.

Symbols: B images, A candidates of an image, P and N samples at most.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from torch import Tensor

from mmdet_maskr.models.task_modules.matching import BACKGROUND
from mmdet_maskr.ops.constants import constant, numbered

FOREGROUND = 1  # any ground truth


class Drawn(NamedTuple):
    """Samples of a batch.

    Attributes:
        positive: (B, P) candidates; of each image the first :attr:`positives` count.
        negative: (B, N) candidates; of each image the first :attr:`negatives` count.
        positives: (B,) int64.
        negatives: (B,) int64.
    """

    positive: Tensor
    negative: Tensor
    positives: Tensor
    negatives: Tensor

    def counting(self) -> Tensor:
        """(B, P + N) bool, which of ``positive`` and ``negative`` in a row count."""
        most = self.positive.shape[1], self.negative.shape[1]
        numbers = torch.stack([self.positives, self.negatives], 1)
        places = constant([*range(most[0]), *range(most[1])], numbers)
        return places < numbers[:, numbered(most, numbers)]


def is_standard(sampler: Any) -> bool:
    """Whether :func:`draw` does what a sampler does."""
    return type(sampler) is RandomSampler and sampler.pos_sampler is sampler


def draw(sampler: RandomSampler, matched: Tensor) -> Drawn:
    """Samples of the positive and the negative candidates of each image.

    Args:
        sampler: ``num``, ``pos_fraction`` and ``neg_pos_ub`` are used.
        matched: (B, A) from :func:`.matching.match`; -1 where there is no candidate.
    """
    limit = int(sampler.num * sampler.pos_fraction)
    keys = torch.rand(matched.shape, device=matched.device)
    width = matched.shape[1]
    # both kinds together: (B, 2, A)
    kinds = constant((FOREGROUND, BACKGROUND), matched)
    are = matched.clamp(max=FOREGROUND)[:, None] == kinds[:, None]
    index = keys[:, None].where(are, -1).topk(min(sampler.num, width)).indices
    there, others = are.sum(2).unbind(1)
    positives = there.clamp(max=limit)
    most = sampler.num - positives
    if sampler.neg_pos_ub >= 0:
        bound = (sampler.neg_pos_ub * positives.clamp(min=1)).long()
        most = torch.minimum(most, bound)
    return Drawn(index[:, 0, :limit], index[:, 1], positives, torch.minimum(others, most))
