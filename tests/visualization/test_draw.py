"""Masks, boxes, labels and skeletons are drawn where they are."""

from __future__ import annotations

import numpy as np
import pytest

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.colors import class_colors
from mmdet_maskr.visualization.draw import draw_instances, enlarge, shown
from mmdet_maskr.visualization.skeleton import Limb, Skeleton

LEFT, RIGHT = (0, 0, 255), (255, 200, 0)
PAIR = Skeleton((Limb(0, 1, (LEFT, RIGHT)),), (LEFT, RIGHT))


def test_draws_masks_boxes_and_labels_where_they_are():
    image = np.full((120, 160, 3), 100, np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    mask[50:90, 40:100] = 1
    drawn = draw_instances(image, np.array([[40, 50, 100, 90]]), [mask], ["disc"], [(255, 0, 0)])
    assert (image == 100).all(), "the image itself is not drawn on"
    inside = drawn[60:80, 60:80].astype(int)  # 55 % gray, 45 % red
    assert (abs(inside - [170, 55, 55]) <= 1).all()
    changed = (drawn != image).any(-1)
    assert changed[30:50, 40:70].any(), "the label stands above the box"
    assert not changed[95:].any() and not changed[:, 105:].any()


def test_labels_of_the_same_box_do_not_cover_each_other():
    image = np.zeros((200, 200, 3), np.uint8)
    boxes = np.array([[60, 80, 140, 120], [60, 80, 140, 120]], float)
    colors = [(255, 0, 0), (0, 255, 0)]
    drawn = draw_instances(image, boxes, None, ["one", "two"], colors)
    areas = [int((drawn == color).all(-1).sum()) for color in colors]
    assert min(areas) > 0.5 * max(areas) > 0


def test_no_instances():
    image = np.zeros((40, 40, 3), np.uint8)
    assert (draw_instances(image, np.zeros((0, 4)), [], [], []) == 0).all()


def test_enlarge_moves_boxes_masks_and_keypoints_together():
    image = np.zeros((40, 50, 3), np.uint8)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 5:25] = 1
    keypoints = np.array([[[5.0, 10, 2], [0, 0, 0]]])  # a corner of the box, and an absent one
    image, boxes, (mask,), keypoints = enlarge(
        image, np.array([[5.0, 10, 25, 20]]), [mask], keypoints, 120
    )
    assert image.shape == (120, 150, 3)
    assert boxes.tolist() == [[15, 30, 75, 60]]
    assert keypoints.tolist() == [[[15, 30, 2], [0, 0, 0]]]
    ys, xs = np.nonzero(mask)
    assert np.allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], boxes[0], atol=1)


def test_large_images_stay_as_they_are():
    image = np.zeros((40, 50, 3), np.uint8)
    larger, boxes, masks, keypoints = enlarge(image, np.array([[5.0, 10, 25, 20]]), None, None, 30)
    assert larger.shape == image.shape and boxes.tolist() == [[5, 10, 25, 20]]
    assert masks is None and keypoints is None


def test_masks_are_as_opaque_as_asked():
    image = np.zeros((40, 40, 3), np.uint8)
    mask = np.ones((40, 40), np.uint8)
    box = np.array([[0, 0, 40, 40]])
    drawn = draw_instances(image, box, [mask], [""], [(200, 100, 0)], mask_alpha=0.25)
    assert drawn[20, 20].tolist() == [50, 25, 0]


def test_skeletons_lie_over_masks():
    image = np.zeros((200, 200, 3), np.uint8)
    masks = np.ones((2, 200, 200), np.uint8)
    boxes = np.array([[0, 0, 200, 200], [0, 0, 190, 190]])
    keypoints = np.array([[[40.5, 100.5, 2], [160.5, 100.5, 2]], [[0, 0, 0], [0, 0, 0]]])
    gray = (128, 128, 128)
    drawn = draw_instances(image, boxes, masks, ["", ""], [gray, gray], keypoints, PAIR)
    assert tuple(drawn[100, 40]) == LEFT and tuple(drawn[100, 160]) == RIGHT


def test_colors_by_class_number():
    """The palette's, then distinct ones that do not depend on how many are asked for."""
    palette = [(1, 2, 3), (4, 5, 6)]
    assert class_colors(palette, 2) == palette
    assert class_colors(palette, 1) == palette[:1]
    more = class_colors(palette, 20)
    assert more[:2] == palette and len(set(more)) == 20
    assert class_colors(palette, 12) == more[:12]
    assert class_colors("random", 20)[2:] == class_colors(None, 20)[2:] == more[2:]


@pytest.mark.parametrize("side", [100, 1600])
def test_lines_grow_with_the_image(side: int):
    """Box and limb are about as wide, relative to the image, at any size."""
    image = np.zeros((side, side, 3), np.uint8)
    boxes = np.array([[0.1, 0.1, 0.9, 0.9]]) * side
    keypoints = np.array([[[0.3, 0.5, 2], [0.7, 0.5, 2]]]) * [side, side, 1]
    blue = Skeleton((Limb(0, 1, (LEFT, LEFT)),), (LEFT, LEFT))
    drawn = draw_instances(image, boxes, None, [""], [(255, 0, 0)], keypoints, blue)
    column = drawn[:, side // 2].astype(int)
    limb = (column[:, 2] > 128).sum()
    box = (column[: side // 3, 0] > 128).sum()
    assert limb >= box >= 1
    assert limb <= max(2, 0.012 * side) and box <= max(1, 0.006 * side)
    if side == 1600:
        assert box >= 3 and limb >= 6


def test_labels_of_a_crowd_keep_clear_of_each_other():
    """Nine objects in the middle of the picture, and room for their labels around them."""
    image = np.zeros((400, 400, 3), np.uint8)
    corners = [(x, y) for x in (100, 160, 220) for y in (100, 160, 220)]
    boxes = np.array([[x, y, x + 30, y + 30] for x, y in corners], float)
    colors = [(0, 20 * i + 40, 255) for i in range(9)]
    drawn = draw_instances(image, boxes, None, ["thing"] * 9, colors)
    areas = [int((drawn == color).all(-1).sum()) for color in colors]
    assert min(areas) > 0.9 * max(areas) > 100


def test_objects_smaller_than_their_labels_have_none():
    """The picture of a small object is that without its label, and has no box around the mask."""
    image = np.full((400, 400, 3), 100, np.uint8)
    masks = np.zeros((2, 400, 400), np.uint8)
    masks[0, 20:32, 20:32] = masks[1, 200:300, 200:300] = 1
    boxes = np.array([[20, 20, 32, 32], [200, 200, 300, 300]], float)
    red = [(255, 0, 0)] * 2
    drawn = draw_instances(image, boxes, masks, ["nucleus", "nucleus"], red)
    bare = draw_instances(image, boxes, masks, ["", ""], red)
    changed = (drawn != bare).any(-1)
    assert not changed[:100].any() and changed[150:210].sum() > 300
    small = (bare[:100] != 100).any(-1)
    ys, xs = np.nonzero(small)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (19, 32, 19, 32), "as far as its contour"
    light = np.abs(bare[26, 26].astype(int) - 100).max()
    assert light < 0.7 * np.abs(bare[250, 250].astype(int) - 100).max(), "the image shines through"


def test_small_objects_without_a_mask_have_a_box():
    image = np.zeros((400, 400, 3), np.uint8)
    box = np.array([[20, 20, 32, 32]], float)
    drawn = draw_instances(image, box, np.zeros((1, 400, 400), np.uint8), [""], [(255, 0, 0)])
    assert (drawn[20, 22:30, 0] > 200).all()


def test_labels_cover_no_other_object():
    """Two objects that fill the picture's width leave no room above each other."""
    image = np.zeros((300, 300, 3), np.uint8)
    boxes = np.array([[0, 0, 300, 60], [0, 60, 300, 74], [0, 74, 300, 300]], float)
    drawn = draw_instances(
        image, boxes, None, ["a", "b", "c"], [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    )
    row = drawn[62:72, 20:280]
    assert (row[:, :, [0, 2]] == 0).all(), "neither a's nor c's label lies on b"


def test_given_widths_and_opacity_hold_for_small_objects():
    image = np.zeros((400, 400, 3), np.uint8)
    masks = np.zeros((1, 400, 400), np.uint8)
    masks[0, 100:120, 100:120] = 1
    box = np.array([[100, 100, 120, 120]], float)
    drawn = draw_instances(image, box, masks, [""], [(200, 100, 0)], mask_alpha=0.25, line_width=5)
    assert drawn[110, 110].tolist() == [50, 25, 0]
    assert 5 <= (drawn[90:110, 110] == (200, 100, 0)).all(-1).sum() <= 7


@pytest.mark.parametrize("side", [100, 640, 4000])
def test_contours_have_light_edges_at_any_size(side: int):
    """On an image of the mask's own color the white next to the contour shows where it is."""
    image = np.full((side, side, 3), (200, 0, 0), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 4 : side // 2] = 1
    box = np.array([[side // 4, side // 4, side // 2, side // 2]])
    drawn = draw_instances(image, box, [mask], [""], [(200, 0, 0)])
    row = drawn[3 * side // 8]
    light = (row.min(-1) > 100).sum()
    assert light >= (side > 400) + side // 1000 and (row[side // 4] == (200, 0, 0)).all()


def test_colors_as_texts():
    """Palettes of hex texts and names; what is none is named."""
    palette = ["#ff8000", "red", (1, 2, 3), "#0f0"]
    wanted = [(255, 128, 0), (255, 0, 0), (1, 2, 3), (0, 255, 0)]
    assert class_colors(palette, 4) == wanted
    assert class_colors(palette, 2) == wanted[:2]
    for wrong in ("#xyzxyz", "reddish", (1, 2), None, 5):
        with pytest.raises(UserError, match="not a color"):
            class_colors([wrong], 1)


def test_images_of_any_kind_are_shown():
    """Gray, many bands, 16 bits, floating point: three channels, R first, scaled where needed."""
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (5, 6), dtype=np.uint8)
    for image in (gray, gray[..., None]):
        assert (shown(image) == gray[..., None]).all() and shown(image).shape == (5, 6, 3)
    bands = rng.integers(0, 256, (5, 6, 7), dtype=np.uint8)
    assert (shown(bands) == bands[..., 2::-1]).all()
    assert (shown(bands[..., :3]) == bands[..., 2::-1]).all()
    assert shown(bands[..., :2]).shape == (5, 6, 3)
    deep = (gray.astype(np.uint16) * 257)[..., None]
    deep[0, 0] = 65535
    assert abs(shown(deep)[1:].astype(int) - gray[1:, :, None]).max() <= 1
    dark = deep // 16  # 12 bits
    assert shown(dark).max() == 255
    floats = np.array([[-3.0, 0.0, 128.4, 255.0, np.nan, np.inf]], np.float32)
    assert shown(floats)[0, :, 0].tolist() == [0, 0, 128, 255, 0, 0]
