"""COCO's keypoint scores: average precision by object keypoint similarity (OKS).

Detections are matched as boxes are, with OKS in the place of IoU: the mean over the labelled
keypoints of exp(-d^2 / (2 s^2 (2 sigma)^2)), d being the distance and s^2 the annotation's area.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from terminaltables import AsciiTable

ITEMS = {  # places in COCOeval.stats
    "mAP": 0,
    "mAP_50": 1,
    "mAP_75": 2,
    "mAP_m": 3,
    "mAP_l": 4,
    "AR": 5,
    "AR_50": 6,
    "AR_75": 7,
    "AR_m": 8,
    "AR_l": 9,
}
DEFAULT_ITEMS = ("mAP", "mAP_50", "mAP_75", "mAP_m", "mAP_l")


def evaluate_oks(
    truth: COCO,
    found: COCO,
    sigmas: Sequence[float],
    category_ids: Collection[int],
    image_ids: Collection[int],
    thresholds: float | Sequence[float],
) -> COCOeval:
    """Evaluate keypoints; 20 detections an image and category count, as in COCO.

    Args:
        truth: annotations with ``keypoints`` (3K numbers), ``num_keypoints``, ``bbox``, ``area``.
        found: results, loaded by ``truth.loadRes``.
        sigmas: K, one a keypoint.
        category_ids: ids of the categories with keypoints.
        image_ids: ids of the images that are scored.
        thresholds: of OKS.

    Returns:
        The evaluation, with ``eval`` and ``stats`` (see :data:`ITEMS`).
    """
    evaluation = COCOeval(truth, found, "keypoints")  # its maxDets are (20,)
    evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
    evaluation.params.catIds = list(category_ids)
    evaluation.params.imgIds = list(image_ids)
    evaluation.params.iouThrs = np.atleast_1d(np.asarray(thresholds, np.float64))
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def scores_of_classes(evaluation: COCOeval) -> dict[str, dict[str, float]]:
    """The default items for each class, by name; NaN where there is nothing to find."""
    precision = evaluation.eval["precision"][..., -1]  # thresholds, recalls, classes, areas
    thresholds = evaluation.params.iouThrs
    at = [np.flatnonzero(np.isclose(thresholds, threshold)) for threshold in (0.5, 0.75)]
    scores = {}
    for index, category_id in enumerate(evaluation.params.catIds):
        one = precision[:, :, index]
        parts = (one[..., 0], one[at[0], :, 0], one[at[1], :, 0], one[..., 1], one[..., 2])
        name = evaluation.cocoGt.cats[category_id]["name"]
        scores[name] = dict(zip(DEFAULT_ITEMS, map(_mean, parts), strict=True))
    return scores


def table_of_classes(scores: dict[str, dict[str, float]]) -> str:
    """Scores of :func:`scores_of_classes` as a table for the log."""
    rows = [[name, *(f"{ap:.3f}" for ap in items.values())] for name, items in scores.items()]
    return AsciiTable([["category", *DEFAULT_ITEMS], *rows]).table


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")
