"""Names of logged scores: COCO's statistics, and AP by class.

Keypoints are matched as boxes are, with object keypoint similarity (OKS) in the place of IoU: the
mean over the labeled keypoints of exp(-d^2 / (2 s^2 (2 sigma)^2)), d being the distance and s^2
the annotation's area.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval
from terminaltables import AsciiTable

AP_ITEMS = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
PROPOSAL_NUMS = (100, 300, 1000)  # CocoMetric's


def box_items(proposal_nums: Sequence[int]) -> tuple[str, ...]:
    """What there is of boxes and masks; average recall is that of so many detections an image."""
    largest = max(proposal_nums)
    recalls = (f"AR@{number}" for number in sorted(proposal_nums))
    return (*AP_ITEMS, *recalls, *(f"AR_{size}@{largest}" for size in "sml"))


# in the order of COCOeval.stats
BOX_ITEMS = box_items(PROPOSAL_NUMS)
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


def default_items(metric: str, proposal_nums: Sequence[int] = PROPOSAL_NUMS) -> tuple[str, ...]:
    """What is recorded of a metric."""
    if metric == "keypoints":
        return KEYPOINT_ITEMS[:5]
    return box_items(proposal_nums)[6:] if metric == "proposal" else AP_ITEMS


def statistics(
    evaluation: COCOeval, items: Sequence[str], max_dets: int | None = None
) -> dict[str, float]:
    """Statistics of an evaluation; -1 where there is nothing to find.

    Args:
        evaluation: an accumulated one; without ``max_dets`` also summarized.
        items: names of :func:`box_items` or of :data:`KEYPOINT_ITEMS`.
        max_dets: how many detections an image and category count for average precision and the
            recall of keypoints. None takes pycocotools' statistics, of which mAP is that of 100
            and the others those of the largest number.
    """
    keypoints = evaluation.params.iouType == "keypoints"
    if max_dets is not None:
        return {item: _statistic(evaluation, item, max_dets) for item in items}
    names = KEYPOINT_ITEMS if keypoints else BOX_ITEMS
    return {item: float(evaluation.stats[names.index(item)]) for item in items}


def _statistic(evaluation: COCOeval, item: str, max_dets: int) -> float:
    """pycocotools' ``summarize`` for one item, at the same number of detections for each."""
    name, _, number = item.partition("@")
    kind, _, part = name.partition("_")
    params = evaluation.params
    values = evaluation.eval["precision" if kind == "mAP" else "recall"]
    if part in ("50", "75"):
        values = values[np.isclose(params.iouThrs, int(part) / 100)]
    sizes = [label[0] for label in params.areaRngLbl]  # all, small, medium, large
    area = sizes.index(part) if part in ("s", "m", "l") else sizes.index("a")
    known = values[..., area, params.maxDets.index(int(number or max_dets))]
    known = known[known > -1]
    return float(known.mean()) if known.size else -1.0


def scores_of_classes(
    evaluation: COCOeval, names: Mapping[int, str], max_dets: int | None = None
) -> dict[str, dict[str, float]]:
    """The default AP items for each class, by name; NaN where there is nothing to find.

    Args:
        evaluation: an accumulated one.
        names: by category id, in the order that the scores are to have.
        max_dets: how many detections an image and category count; None for the largest number.
    """
    items = default_items(evaluation.params.iouType)
    place = -1 if max_dets is None else evaluation.params.maxDets.index(max_dets)
    precision = evaluation.eval["precision"][..., place]  # thresholds, recalls, classes, areas
    thresholds = evaluation.params.iouThrs
    at = [np.flatnonzero(np.isclose(thresholds, threshold)) for threshold in (0.5, 0.75)]
    scores = {}
    for category_id, name in names.items():
        # evaluation sorts the categories by id, not by their order in the file
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
