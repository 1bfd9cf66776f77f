"""Pairs are those of a direct loop over all similarities, from the largest down."""

from __future__ import annotations

import numpy as np
import pytest

from mmdet_maskr.coco.pairing import pair_up


def slowly(similarity: np.ndarray, least: float) -> list[tuple[int, int]]:
    left, pairs = similarity.copy(), []
    while left.size and left.max() >= least:
        i, j = np.unravel_index(left.argmax(), left.shape)
        pairs.append((int(i), int(j)))
        left[i], left[:, j] = -np.inf, -np.inf
    return pairs


@pytest.mark.parametrize("seed", range(20))
def test_best_first(seed: int):
    """Also where several are equal: a few values alone."""
    rng = np.random.default_rng(seed)
    similarity = rng.integers(0, 6, rng.integers(0, 9, 2)) / 5
    good = similarity >= 0.4
    pairs = pair_up(np.argwhere(good), similarity[good])
    assert list(map(tuple, pairs.tolist())) == slowly(similarity, 0.4)


def test_none():
    assert pair_up(np.zeros((0, 2), int), np.zeros(0)).shape == (0, 2)
