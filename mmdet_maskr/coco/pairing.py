"""Pairs of two sets of detections; each detection is in one pair at most.

COCO's own matching, by score, is pycocotools'; see :mod:`mmdet_maskr.evaluation.error_analysis`.
"""

from __future__ import annotations

import numpy as np


def pair_up(candidates: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Choose pairs greedily: the most similar first, of equal ones the first.

    Args:
        candidates: (C, 2) rows of the first and of the second set; ``np.argwhere`` of a matrix that
            says who may be paired gives them.
        similarity: (C,) of each candidate, such as IoU, or a distance with the sign changed.

    Returns:
        (P, 2) the pairs, from the most similar one down.
    """
    chosen: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for first, second in candidates[np.argsort(-similarity, kind="stable")].tolist():
        if first not in taken[0] and second not in taken[1]:
            chosen.append((first, second))
            taken[0].add(first)
            taken[1].add(second)
    return np.array(chosen, np.int64).reshape(-1, 2)
