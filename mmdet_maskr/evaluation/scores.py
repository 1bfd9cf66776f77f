"""Scores that are recorded and shown: COCO's statistics by name, and average precision by class.

Keypoints are matched as boxes are, with object keypoint similarity (OKS) in the place of IoU: the
mean over the labelled keypoints of exp(-d^2 / (2 s^2 (2 sigma)^2)), d being the distance and s^2
the annotation's area.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval
from terminaltables import AsciiTable

# in the order of COCOeval.stats; the numbers are the default proposal_nums, whatever is set
BOX_ITEMS = (
    "mAP",
    "mAP_50",
    "mAP_75",
    "mAP_s",
    "mAP_m",
    "mAP_l",
    "AR@100",
    "AR@300",
    "AR@1000",
    "AR_s@1000",
    "AR_m@1000",
    "AR_l@1000",
)
KEYPOINT_ITEMS = (
    "mAP",
    "mAP_50",
    "mAP_75",
    "mAP_m",
    "mAP_l",
    "AR",
    "AR_50",
    "AR_75",
    "AR_m",
    "AR_l",
)


def default_items(metric: str) -> tuple[str, ...]:
    """What is recorded of a metric."""
    if metric == "keypoints":
        return KEYPOINT_ITEMS[:5]
    return BOX_ITEMS[6:] if metric == "proposal" else BOX_ITEMS[:6]


def statistics(evaluation: COCOeval, items: Sequence[str]) -> dict[str, float]:
    """Statistics of a summarized evaluation; -1 where there is nothing to find."""
    names = KEYPOINT_ITEMS if evaluation.params.iouType == "keypoints" else BOX_ITEMS
    return {item: float(evaluation.stats[names.index(item)]) for item in items}


def scores_of_classes(
    evaluation: COCOeval, names: Mapping[int, str]
) -> dict[str, dict[str, float]]:
    """The default AP items for each class, by name; NaN where there is nothing to find.

    Args:
        evaluation: an accumulated one.
        names: by category id, in the order that the scores are to have.
    """
    items = default_items(evaluation.params.iouType)
    precision = evaluation.eval["precision"][..., -1]  # thresholds, recalls, classes, areas
    thresholds = evaluation.params.iouThrs
    at = [np.flatnonzero(np.isclose(thresholds, threshold)) for threshold in (0.5, 0.75)]
    scores = {}
    for category_id, name in names.items():
        # evaluation sorts the categories by id, whatever their order in the file
        one = precision[:, :, evaluation.params.catIds.index(category_id)]
        sizes = (one[..., area] for area in range(1, one.shape[-1]))
        parts = (one[..., 0], one[at[0], :, 0], one[at[1], :, 0], *sizes)
        scores[name] = dict(zip(items, map(_mean, parts), strict=True))
    return scores


def table_of_classes(scores: dict[str, dict[str, float]]) -> str:
    """Scores of :func:`scores_of_classes` as a table for the log."""
    rows = [[name, *(f"{ap:.3f}" for ap in items.values())] for name, items in scores.items()]
    return AsciiTable([["category", *next(iter(scores.values()))], *rows]).table


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")
