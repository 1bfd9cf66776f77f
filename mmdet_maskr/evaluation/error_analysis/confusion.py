"""The confusion matrix of classes.

Symbols: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmdet_maskr.coco.pairing import pair_up
from mmdet_maskr.evaluation.error_analysis.matching import Matching


def confusion_matrix(
    matching: Matching,
    category_ids: Sequence[int],
    score_thr: float = 0.3,
    threshold: float = 0.5,
) -> np.ndarray:
    """Count objects by their class and the class that they were detected as.

    Detections are matched within their class first, as COCO does; what is left over is matched
    across classes, nearest pairs first, and each object and detection is counted once. Detections
    on crowds are not counted.

    Args:
        matching: at ``threshold``.
        category_ids: of the K classes, in the order of rows and columns.
        score_thr: detections below this score are left out.
        threshold: the least IoU or OKS of a pair.

    Returns:
        (K + 1, K + 1) int: objects of a class by row, as what by column. The last column counts
        objects that were missed, the last row detections where there is none.
    """
    place = {category: k for k, category in enumerate(category_ids)}
    nothing = len(category_ids)
    counts = np.zeros((nothing + 1, nothing + 1), int)
    seen = ~matching.ignored & (matching.scores >= score_thr)
    det_class = np.array([place[c] for c in matching.categories.tolist()], int)
    gt_class = np.array([place[c] for c in matching.gt_categories.tolist()], int)
    det_free = seen.copy()
    gt_free = np.ones(len(matching.gt_ids), bool)

    def count(dets: np.ndarray, gts: np.ndarray) -> None:
        np.add.at(counts, (gt_class[gts], det_class[dets]), 1)
        det_free[dets] = gt_free[gts] = False

    right = np.flatnonzero(seen & matching.correct)
    count(right, matching.matched[right])
    dets, gts = matching.pairs.T
    near = (matching.similarities >= threshold) & det_free[dets] & gt_free[gts]
    count(*pair_up(matching.pairs[near], matching.similarities[near]).T)
    np.add.at(counts, (np.full(det_free.sum(), nothing), det_class[det_free]), 1)
    np.add.at(counts, (gt_class[gt_free], np.full(gt_free.sum(), nothing)), 1)
    return counts
