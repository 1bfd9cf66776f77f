"""Limbs and joints: which are drawn, where, and in which colors."""

from __future__ import annotations

import numpy as np
import pytest

from mmdet_maskr.coco.keypoint_meta import COCO_PERSON
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.skeleton import (
    LEFT,
    MIDDLE,
    RIGHT,
    draw_skeleton,
    make_skeleton,
    with_visibility,
)

META = dict(
    keypoints=("head", "left_hand", "right_hand"),
    keypoint_swaps=(("left_hand", "right_hand"),),
    skeleton=(("head", "left_hand"), ("head", "right_hand"), ("left_hand", "right_hand")),
)
SKELETON = make_skeleton(META, 3)
HEAD, LEFT_HAND, RIGHT_HAND = (200.5, 80.5), (320.5, 320.5), (80.5, 320.5)


def draw(*visibilities: int) -> np.ndarray:
    canvas = np.full((400, 400, 3), 128, np.uint8)
    points = np.array([HEAD, LEFT_HAND, RIGHT_HAND])
    keypoints = np.concatenate([points, np.array(visibilities)[:, None]], axis=1)
    draw_skeleton(canvas, keypoints, SKELETON, unit=2.0)
    return canvas


def color_at(canvas: np.ndarray, point: tuple[float, float]) -> tuple[int, ...]:
    """Of the pixel that covers the point."""
    return tuple(int(value) for value in canvas[int(point[1]), int(point[0])])


def between(start: tuple[float, float], end: tuple[float, float], part: float) -> tuple:
    return tuple(np.array(start) + part * (np.array(end) - start))


def test_sides_have_their_colors():
    """A limb to the middle has its side's color, one across is colored half and half."""
    canvas = draw(2, 2, 2)
    assert color_at(canvas, HEAD) == MIDDLE
    assert color_at(canvas, LEFT_HAND) == LEFT
    assert color_at(canvas, RIGHT_HAND) == RIGHT
    for part in (0.3, 0.7):
        assert color_at(canvas, between(HEAD, LEFT_HAND, part)) == LEFT
        assert color_at(canvas, between(HEAD, RIGHT_HAND, part)) == RIGHT
    assert color_at(canvas, between(LEFT_HAND, RIGHT_HAND, 0.3)) == LEFT
    assert color_at(canvas, between(LEFT_HAND, RIGHT_HAND, 0.7)) == RIGHT


def test_coco_is_colored_by_its_own_colors():
    skeleton = make_skeleton(COCO_PERSON, 17)
    assert skeleton.colors == COCO_PERSON["keypoint_colors"]
    names = COCO_PERSON["keypoints"]
    assert len(skeleton.limbs) == 19
    for limb in skeleton.limbs:
        pairs = zip((names[limb.start], names[limb.end]), limb.colors, strict=True)
        for name, color in pairs:
            if name != "nose":
                assert color == skeleton.colors[names.index(name)]


def test_own_colors_win():
    colors = ([1, 2, 3], [4, 5, 6], [7, 8, 9])
    skeleton = make_skeleton({**META, "keypoint_colors": colors}, 3)
    assert skeleton.colors == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert skeleton.limbs[0].colors == ((4, 5, 6), (4, 5, 6))


def test_absent_joints_take_their_limbs_with_them():
    canvas = draw(2, 0, 2)
    assert color_at(canvas, LEFT_HAND) == (128, 128, 128)
    assert color_at(canvas, between(HEAD, LEFT_HAND, 0.5)) == (128, 128, 128)
    assert color_at(canvas, between(HEAD, RIGHT_HAND, 0.5)) == RIGHT
    assert (draw(0, 0, 0) == 128).all()


def test_occluded_joints_are_hollow():
    """White inside, their color around it."""
    canvas = draw(2, 1, 2)
    assert color_at(canvas, LEFT_HAND) == (255, 255, 255)
    assert color_at(canvas, RIGHT_HAND) == RIGHT
    around = canvas[312:329, 312:329].reshape(-1, 3)
    assert (around == LEFT).all(axis=1).any()


def test_a_point_in_the_middle_of_a_pixel_is_drawn_around_it():
    """Continuous coordinates: (50.5, 50.5) is the middle of pixel (50, 50)."""
    canvas = np.zeros((101, 101, 3), np.uint8)
    skeleton = make_skeleton({}, 1)
    draw_skeleton(canvas, np.array([[50.5, 50.5, 2]]), skeleton, unit=4.0)
    ys, xs = np.nonzero(canvas.any(axis=2))
    assert (xs.mean(), ys.mean()) == pytest.approx((50, 50), abs=0.05)


def test_small_instances_have_thinner_lines():
    widths = []
    for size in (20, 600):
        canvas = np.zeros((100, 800, 3), np.uint8)
        keypoints = np.array([[50, 50, 2], [50 + size, 50, 2], [0, 0, 0]])
        draw_skeleton(canvas, keypoints, SKELETON, unit=4.0)
        widths.append(canvas[:, 50 + size // 2].any(axis=1).sum())
    assert 1 <= widths[0] < 0.6 * widths[1]


def test_predictions_below_the_threshold_are_absent():
    keypoints = with_visibility(np.ones((1, 3, 2)), np.array([[0.1, 0.3, 0.5]]), 0.3)
    assert keypoints.tolist() == [[[1, 1, 0], [1, 1, 2], [1, 1, 2]]]


def test_without_names_there_are_no_limbs():
    skeleton = make_skeleton({"classes": ("person",)}, 4)
    assert skeleton.limbs == () and len(skeleton.colors) == 4


def test_another_number_of_keypoints():
    with pytest.raises(UserError, match=r"5 keypoints must be drawn.*has 3: head, left_hand"):
        make_skeleton(META, 5)
