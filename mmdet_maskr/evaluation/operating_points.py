"""Score thresholds: precision, recall and F1, and the calibration of scores.

Symbols: D detections, G annotations, as in :class:`.Matching`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdet_maskr.evaluation.error_analysis.matching import Matching

BINS = 10


@dataclass(frozen=True)
class OperatingPoint:
    """What comes of keeping detections from a score on.

    Args:
        threshold: the score; NaN where no detection is right, so that none is worth keeping.
        precision: share of the kept detections that are right; NaN of none.
        recall: share of the objects that are found; NaN of none.
        f1: harmonic mean of both; NaN where there are no objects.
        kept: how many detections.
        objects: how many objects.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    kept: int
    objects: int


@dataclass(frozen=True)
class Calibration:
    """How far scores are from the share of detections that are right.

    Args:
        error: expected calibration error: mean distance of score and share, each bin with the
            number of its detections as weight (Guo et al. 2017); NaN without detections.
        counts: (B,) detections in each bin of scores, of equal width from 0 to 1.
        scores: (B,) their mean score; NaN in an empty bin.
        shares: (B,) the share of them that is right.
    """

    error: float
    counts: np.ndarray
    scores: np.ndarray
    shares: np.ndarray


def curve(matching: Matching, categories: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Thresholds (T,), the distinct scores from the highest down, with precision and recall (T,).

    Args:
        matching: at the IoU or OKS that makes a detection right.
        categories: whose detections and objects are counted together.
    """
    rows = np.isin(matching.categories, list(categories)) & ~matching.ignored
    objects = int(np.isin(matching.gt_categories, list(categories)).sum())
    order = np.argsort(-matching.scores[rows], kind="stable")
    scores = matching.scores[rows][order]
    right = np.cumsum(matching.correct[rows][order])
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], [True] * bool(len(scores))))
    precision = right[last] / (last + 1)
    recall = right[last] / objects if objects else np.full(len(last), np.nan)
    return scores[last], precision, recall


def best_point(matching: Matching, categories: Sequence[int]) -> OperatingPoint:
    """The threshold with the highest F1, the higher one of equals."""
    thresholds, precision, recall = curve(matching, categories)
    objects = int(np.isin(matching.gt_categories, list(categories)).sum())
    if objects == 0:
        return OperatingPoint(np.nan, np.nan, np.nan, np.nan, 0, 0)
    sums = precision + recall
    f1 = np.divide(2 * precision * recall, sums, out=np.zeros_like(sums), where=sums > 0)
    if not len(f1) or f1.max() == 0:
        return OperatingPoint(np.nan, np.nan, 0.0, 0.0, 0, objects)
    i = int(f1.argmax())
    rows = np.isin(matching.categories, list(categories)) & ~matching.ignored
    kept = int((matching.scores[rows] >= thresholds[i]).sum())
    threshold, p, r, best = (float(v[i]) for v in (thresholds, precision, recall, f1))
    return OperatingPoint(threshold, p, r, best, kept, objects)


def calibration(matching: Matching, bins: int = BINS) -> Calibration:
    """Compare scores with the share that is right, of all detections on objects that count."""
    kept = ~matching.ignored
    scores, right = matching.scores[kept], matching.correct[kept].astype(float)
    place = np.minimum((scores * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, scores, bins) / counts
        shares = np.bincount(place, right, bins) / counts
    filled = counts > 0
    error = np.nan
    if filled.any():
        gaps = np.abs(means - shares)[filled]
        error = float((gaps * counts[filled]).sum() / counts.sum())
    return Calibration(error, counts, means, shares)
