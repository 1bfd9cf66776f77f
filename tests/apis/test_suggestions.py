"""Which photos are to be annotated: the right ones of constructed cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmdet_maskr.apis.suggestions import NOTHING_FOUND, choose, recorded_features, uncertainty


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.5, 0.5, 0.5], 1.0),
        ([0.5], 1 / 3),
        ([0.5, 0.5, 0.5, 0.5, 0.99], 1.0),  # a crowd counts no more
        ([1.0, 1.0], 0.0),
        ([0.25, 0.9, 1.0], (0.75 + 0.36) / 3),
        ([0.04, 0.01], NOTHING_FOUND),
        ([], NOTHING_FOUND),
    ],
)
def test_uncertainty(scores: list[float], expected: float):
    assert uncertainty(scores) == pytest.approx(expected)


def test_uncertain_and_unlike_the_others():
    """Photos at angles of 0, 10, 60 and 90 degrees, the last one nearly certain."""
    angles = np.deg2rad([0, 10, 60, 90])
    features = np.stack([np.cos(angles), np.sin(angles)], 1) * [[1.0], [5], [2], [3]]  # no length
    unsure = [0.9, 0.8, 0.5, 0.1]
    # after the first: 0.8 (1 - cos 10) = 0.012, 0.5 (1 - cos 60) = 0.25, 0.1 (1 - cos 90) = 0.1;
    # then 0.012 and 0.1 (1 - cos 30) = 0.0134
    assert choose(unsure, features, [0, 1, 2, 3], 4) == [0, 2, 3, 1]
    assert choose(unsure, features, [0, 1, 2, 3], 2) == [0, 2]


def test_near_duplicates_are_not_both_chosen():
    """Frames of a scene are in a group: one of each group before a second one, however unsure."""
    rng = np.random.default_rng(0)
    features = rng.random((6, 4))
    unsure = [0.9, 0.95, 0.92, 0.2, 0.1, 0.0]
    groups = [0, 0, 0, 1, 2, 2]
    chosen = choose(unsure, features, groups, 4)
    assert chosen[0] == 1 and sorted(groups[i] for i in chosen[:3]) == [0, 1, 2]
    assert chosen[3] in (0, 2)
    assert sorted(choose(unsure, features, groups, 50)) == list(range(6))


def test_the_same_again_and_equal_ones_by_place():
    features = np.ones((5, 3))
    assert choose([0.5] * 5, features, range(5), 5) == [0, 1, 2, 3, 4]


def test_features_of_each_image():
    """The means of the last map, in the order of images, and nothing after the block."""

    class Backbone(nn.Module):
        def forward(self, x):
            return x, 2 * x

    model = nn.Module()
    model.backbone = Backbone()
    with recorded_features(model) as found:
        model.backbone(torch.stack([torch.full((3, 2, 2), value) for value in (1.0, 2.0)]))
        model.backbone(torch.full((1, 3, 4, 4), 5.0))
    model.backbone(torch.ones(1, 3, 2, 2))
    assert np.array(found).tolist() == [[2.0] * 3, [4.0] * 3, [10.0] * 3]
