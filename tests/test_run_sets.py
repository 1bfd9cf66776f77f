"""Masks as runs give what the same masks give pixel by pixel."""

from __future__ import annotations

import numpy as np
import pycocotools.mask
import pytest

from mmdet_maskr import run_sets
from mmdet_maskr.run_lengths import changes, rles

HEIGHT, WIDTH = 23, 31


def runs_of(mask: np.ndarray) -> np.ndarray:
    return changes(mask.T, 0, 0, mask.shape[0])


def pixels_of(runs: np.ndarray, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return pycocotools.mask.decode(rles([runs], (height, width))[0]).astype(bool)


@pytest.fixture(params=[0.0, 0.02, 0.5, 0.98, 1.0])
def masks(request: pytest.FixtureRequest) -> list[np.ndarray]:
    """Three masks of which a share of the pixels is inside."""
    return [np.random.rand(HEIGHT, WIDTH) < request.param for _ in range(3)]


def test_sets(masks: list[np.ndarray]):
    runs = [runs_of(mask) for mask in masks]
    assert (pixels_of(run_sets.union(runs)) == np.any(masks, 0)).all()
    assert (pixels_of(run_sets.common(runs)) == np.all(masks, 0)).all()
    assert run_sets.area(runs[0]) == masks[0].sum()
    assert len(run_sets.union([])) == 0
    for box in [(3, 4, 20, 17), (0, 0, WIDTH, HEIGHT), (5, 0, 9, HEIGHT), (7, 7, 7, 9)]:
        expected = np.zeros_like(masks[0])
        inside = np.s_[box[1] : box[3], box[0] : box[2]]
        expected[inside] = masks[0][inside]
        assert (pixels_of(run_sets.cut(runs[0], box, HEIGHT)) == expected).all()


@pytest.mark.parametrize("y0", [0, 6])
def test_moved(masks: list[np.ndarray], y0: int):
    """Runs that go on in the next column of a window end in the image, but where it is as high."""
    height = HEIGHT + 9 if y0 else HEIGHT
    expected = np.zeros((height, WIDTH + 11), bool)
    expected[y0 : y0 + HEIGHT, 5 : 5 + WIDTH] = masks[0]
    runs = run_sets.moved(runs_of(masks[0]), HEIGHT, 5, y0, height)
    assert (pixels_of(runs, *expected.shape) == expected).all()
    assert (np.diff(runs) > 0).all()


def test_of_rle(masks: list[np.ndarray]):
    mask = masks[0]
    compressed = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    plain = [int(n) for n in np.diff(runs_of(mask), prepend=0, append=mask.size)]
    for counts in (compressed["counts"], compressed["counts"].decode(), plain):
        runs = run_sets.union([run_sets.of_rle(dict(counts=counts))])
        assert (runs == runs_of(mask)).all()
    with pytest.raises(ValueError, match="damaged"):
        run_sets.of_rle(dict(counts="\x01"))


def test_images_of_more_pixels_than_32_bits_count():
    side = 100_000
    runs = run_sets.moved(np.array([0, 16]), 4, side - 4, side - 4, side)
    assert run_sets.area(runs) == 16 and runs[-1] == side * side
    assert run_sets.area(run_sets.cut(runs, (0, 0, side, side - 2), side)) == 8
