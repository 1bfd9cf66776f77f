"""Colors by instance where the class does not tell objects apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mmdet_maskr.visualization.colors import (
    INSTANCE_COLORS,
    colored_by_instance,
    id_colors,
    instance_colors,
)
from mmdet_maskr.visualization.labels import texts_of


def test_neighbors_have_different_colors():
    """Two that overlap, a row of touching ones, and a pile of twelve."""
    first, second = instance_colors(np.array([[0, 0, 20, 20], [10, 10, 30, 30]]))
    assert first != second
    row = np.array([[20 * i, 0, 20 * i + 18, 20] for i in range(60)])
    colors = instance_colors(row)
    assert all(a != b for a, b in pairwise(colors))
    assert set(colors) == set(INSTANCE_COLORS), "all are in use"
    pile = np.array([[i, i, 50 + i, 50 + i] for i in range(12)])
    assert len(set(instance_colors(pile))) == 12
    assert instance_colors(np.zeros((0, 4))) == []


def test_the_same_object_has_the_same_color_next_to_it():
    """Predictions in another order, one of nothing, and two of one object."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 40, (30, 2)) * 25
    truth = np.concatenate([corners, corners + 20], axis=1)
    truth = np.unique(truth, axis=0)
    colors = instance_colors(truth)
    order = rng.permutation(len(truth))
    found = np.concatenate([truth[order] + [1, 0, 2, 0], [[2000, 2000, 2020, 2020]], truth[:1] + 3])
    given = instance_colors(found, (truth, colors))
    assert [given[i] for i in range(len(truth))] == [colors[i] for i in order]
    assert given[-1] != colors[0], "a second detection of an object is seen"


def test_when_instances_have_colors_of_their_own():
    """One class; a palette of one color is a choice, COCO's of eighty an inheritance."""
    eighty = [(i, i, i) for i in range(80)]
    assert colored_by_instance(None, 1) and colored_by_instance(eighty, 1)
    assert colored_by_instance("random", 1)
    assert not colored_by_instance([(1, 2, 3)], 1) and not colored_by_instance("coco", 1)
    assert not colored_by_instance(None, 2)


def test_ids_of_a_video_keep_their_colors():
    """In any order and company; none is gray, and neighbors in number differ."""
    assert id_colors([3, 0, -1]) == [id_colors([3])[0], id_colors([0])[0], (160, 160, 160)]
    assert len(set(id_colors(range(12)))) == 12 and id_colors([12]) == id_colors([0])


def test_ids_are_written():
    """After the class; alone where there is one class; nothing for -1."""
    texts = texts_of(["cat", "dog"], [0.5, 0.25], False, [7, -1])
    assert texts.full == ["cat #7 0.50", "dog 0.25"] and texts.short == ["cat #7", "dog"]
    texts = texts_of(["cat", "cat"], [0.5, 0.25], True, [0, -1])
    assert texts.full == ["#0 0.50", "0.25"] and texts.short == ["#0", ""]
