"""Which photos to annotate next: those with uncertain predictions that differ from one another.

Symbols: N photos, D detections of one, C features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

LEAST_SCORE = 0.05  # of detections that count
FEW = 3  # most uncertain detections of a photo, whose mean is the photo's uncertainty
NOTHING_FOUND = 0.5  # of a photo without detections: nothing is there, or all of it was missed


def uncertainty(scores: Sequence[float]) -> float:
    """How uncertain a model is about a photo, from 0 to 1.

    A detection of score s counts 4 s (1 - s), the variance of "it is right", which is 1 at s = 0.5.
    The result is the mean of the three largest values, so that photos with many objects do not
    count more than others. With fewer than three detections, missing values count 0.

    Args:
        scores: scores of the D detections; those below :data:`LEAST_SCORE` are left out.
    """
    kept = np.array([score for score in scores if score >= LEAST_SCORE])
    if not len(kept):
        return NOTHING_FOUND
    largest = np.sort(4 * kept * (1 - kept))[::-1][:FEW]
    return float(largest.sum() / FEW)


def choose(
    unsure: Sequence[float], features: np.ndarray, groups: Sequence[int], count: int
) -> list[int]:
    """Photos in the order in which to annotate them.

    The first is the most uncertain. Each next one has the largest product of its uncertainty and
    its distance (one minus the cosine) to the nearest of those before it. A second photo of a group
    of similar photos comes only after one of each group. Ties keep the order of the photos.

    Args:
        unsure: (N) uncertainty of each photo.
        features: (N, C) image features.
        groups: (N) index of the group of similar photos.
        count: number of photos to choose, at most N.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.asarray(features, np.float64) / np.maximum(norms, 1e-12)
    value = np.asarray(unsure, np.float64)
    group = np.asarray(groups)
    novel = np.ones(len(value))
    taken = np.zeros(len(value), bool)
    used: set[int] = set()
    chosen: list[int] = []
    while len(chosen) < min(count, len(value)):
        open_ = ~taken & ~np.isin(group, list(used))
        if not open_.any():
            used.clear()
            continue
        gain = np.where(open_, value * novel, -1.0).round(6)  # the same in other batches
        best = int(np.argmax(gain))
        chosen.append(best)
        taken[best] = True
        used.add(int(group[best]))
        distance = np.clip(1 - unit @ unit[best], 0, None)
        novel = distance if len(chosen) == 1 else np.minimum(novel, distance)
    return chosen


@contextmanager
def recorded_features(model: nn.Module) -> Iterator[list[np.ndarray]]:
    """Record the mean over the backbone's last feature map, (C,) for each image.

    Args:
        model: a detector with a ``backbone``.
    """
    found: list[np.ndarray] = []

    def record(module: nn.Module, inputs: Any, outputs: Any) -> None:
        last: Tensor = outputs[-1] if isinstance(outputs, (tuple, list)) else outputs
        found.extend(last.detach().float().mean((2, 3)).cpu().numpy())

    handle = model.backbone.register_forward_hook(record)
    try:
        yield found
    finally:
        handle.remove()
