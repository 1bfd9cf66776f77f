"""Outlines are filled as pycocotools fills polygons, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pycocotools.mask
import pytest
import torch

from mmdet_maskr.ops.outline_fill import crossings, fill


def edges_of(*rings: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([np.hstack([r, np.roll(r, -1, 0)]) for r in rings]))


def drawn(edges: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    edge, column, row = crossings(edges, size)
    return fill(torch.zeros_like(edge), column, row, 1, size)[0].numpy()


def by_pycocotools(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rle = pycocotools.mask.frPyObjects([polygon.reshape(-1).tolist()], *size)
    return pycocotools.mask.decode(rle)[..., 0].astype(bool)


@pytest.mark.parametrize("kind", ["real", "tenths", "whole", "halves", "far", "tiny", "lines"])
def test_equals_pycocotools(kind: str):
    """Most of these polygons cross themselves and stick out of the image."""
    rng = np.random.default_rng(len(kind))
    some = 0
    for _ in range(300):
        size = tuple(int(side) for side in rng.integers(1, 60, 2))
        polygon = rng.uniform(-20, 80, (rng.integers(3, 12), 2))
        polygon = dict(
            real=polygon,
            tenths=polygon.round(1),
            whole=polygon.round(),
            halves=(polygon * 2).round() / 2,
            far=polygon * 40 - 900,
            tiny=polygon * 0.02,
            lines=polygon.round() * [[1, 0]] + [0, 7.3],
        )[kind]
        expected = by_pycocotools(polygon, size)
        np.testing.assert_array_equal(drawn(edges_of(polygon), size), expected)
        some += expected.any()
    assert some > 60 or kind in ("tiny", "lines")


def test_order_and_direction_of_edges_mean_nothing():
    generator = torch.Generator().manual_seed(0)
    polygon = np.random.default_rng(0).uniform(0, 40, (9, 2))
    edges = edges_of(polygon)
    mixed = edges[torch.randperm(9, generator=generator)]
    mixed[::2] = mixed[::2, [2, 3, 0, 1]]
    np.testing.assert_array_equal(drawn(mixed, (40, 40)), drawn(edges, (40, 40)))


def test_a_ring_in_a_ring_is_a_hole():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    found = drawn(edges_of(square * 20 + 5, square * 6 + 11), (30, 30))
    expected = np.zeros((30, 30), bool)
    expected[5:25, 5:25] = True
    expected[11:17, 11:17] = False
    np.testing.assert_array_equal(found, expected)


def test_many_at_once_and_none():
    polygons = np.random.default_rng(1).uniform(0, 20, (7, 5, 2))
    edge, column, row = crossings(edges_of(*polygons), (20, 24))
    found = fill(edge // 5, column, row, 7, (20, 24))
    for one, polygon in zip(found, polygons, strict=True):
        np.testing.assert_array_equal(one, by_pycocotools(polygon, (20, 24)))
    edge, column, row = crossings(torch.zeros((0, 4), dtype=torch.float64), (20, 24))
    assert not fill(edge, column, row, 2, (20, 24)).any()
