"""KeypointRandomAffine: boxes, both kinds of masks, keypoints, flags; options out of range."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from marker_scenes import bare, instance, load, run
from mmcv.transforms.utils import cache_random_params
from mmdet.registry import TRANSFORMS

from mmdet_maskr.datasets.transforms.affine import affine_matrix

HEIGHT, WIDTH = 160, 220
STILL = dict(
    type="KeypointRandomAffine",
    max_rotate_degree=0,
    max_translate_ratio=0,
    scaling_ratio_range=(1, 1),
    max_shear_degree=0,
)
WILD = dict(
    type="KeypointRandomAffine",
    max_rotate_degree=60,
    max_translate_ratio=0.3,
    scaling_ratio_range=(0.6, 1.5),
    max_shear_degree=15,
)


def people(seed: int = 0, count: int = 5) -> dict:
    """Instances with an ellipse for a mask, keypoints on it, box around it."""
    rng = np.random.default_rng(seed)
    instances = []
    for k in range(count):
        center, axes = rng.uniform((20, 20), (200, 140)), rng.uniform(8, 20, 2)
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        outline = np.clip(
            center + axes * np.stack([np.cos(turn), np.sin(turn)], 1), 0, (WIDTH, HEIGHT)
        )
        box = (*outline.min(0), *outline.max(0))
        one = instance(box, center + axes * [[-0.5, 0], [0.5, 0], [0, 0.5]], visible=(2, 1, 2))
        one.update(mask=[outline.reshape(-1).tolist()], bbox_label=k, ignore_flag=int(k == 2))
        instances.append(one)
    return bare(rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8), instances)


def test_the_matrix_turns_about_the_center():
    """A quarter turn of a square image is np.rot90; scale keeps the center; shear is its slope."""
    np.testing.assert_allclose(
        affine_matrix(90, 1, (0, 0), (0, 0), (50, 50)) @ (100, 0, 1), (100, 100, 1), atol=1e-9
    )
    center = (30.5, 77.25)
    matrix = affine_matrix(33, 1.4, (5, -9), (3, -4), center)
    np.testing.assert_allclose(matrix @ (*center, 1), (33.5, 73.25, 1))
    np.testing.assert_allclose(
        np.linalg.norm(affine_matrix(33, 1.4, (0, 0), (3, -4), center)[:2, :2], axis=0), 1.4
    )
    sheared = affine_matrix(0, 1, (45, 0), (0, 0), (10, 10))
    np.testing.assert_allclose(sheared @ (10, 15, 1), (15, 15, 1))


def test_numbers_are_drawn_from_the_options():
    """Angle, scale and translation read off the matrix; the center of the image stays."""
    center = (WIDTH / 2, HEIGHT / 2, 1)
    angles, scales, shifts = [], [], []
    for seed in range(200):
        turned = dict(STILL, max_rotate_degree=30, scaling_ratio_range=(0.5, 2))
        matrix = run(people(count=0), turned, seed=seed)["homography_matrix"]
        np.testing.assert_allclose(matrix @ center, center, atol=1e-4)
        scales.append(np.sqrt(np.linalg.det(matrix[:2, :2])))
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        shifted = run(people(count=0), dict(STILL, max_translate_ratio=0.25), seed=seed)
        shifts.append(shifted["homography_matrix"][:2, 2] / (WIDTH, HEIGHT))
    for values, low, high in ((angles, -30, 30), (scales, 0.5, 2), (shifts, -0.25, 0.25)):
        slack = 0.1 * (high - low)
        assert low - 1e-3 <= np.min(values) < low + slack
        assert high - slack < np.max(values) <= high + 1e-3


def test_a_quarter_turn_moves_every_pixel_to_a_pixel():
    """Pixel centers lie at .5, so half a turn and quarter turns about the center are exact."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    transform = TRANSFORMS.build(STILL)
    for degrees, turns in ((90, -1), (180, 2), (-90, 1)):
        matrix = affine_matrix(degrees, 1, (0, 0), (0, 0), (32, 32))
        transform._draw = lambda height, width, matrix=matrix: matrix
        given = transform(bare(image, []))["img"]
        np.testing.assert_array_equal(given, np.rot90(image, turns))


@pytest.mark.parametrize("masks", ["bitmap", "polygon", None])
def test_boxes_are_the_bounds_of_moved_corners(masks: str | None):
    dropped = 0
    for seed in range(8):
        before = run(people(seed), load(masks))
        corners = before["gt_bboxes"].numpy()[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
        results = run(before, WILD, seed=seed)
        matrix = results["homography_matrix"].astype(np.float64)
        moved = corners @ matrix[:2, :2].T + matrix[:2, 2]
        bounds = np.concatenate([moved.min(1), moved.max(1)], 1)
        stay = (bounds[:, :2] < (WIDTH, HEIGHT)).all(1) & (bounds[:, 2:] > 0).all(1)
        kept = results["gt_bboxes_labels"]
        np.testing.assert_array_equal(kept, np.flatnonzero(stay))
        np.testing.assert_allclose(
            results["gt_bboxes"].numpy(),
            np.clip(bounds[stay], 0, (WIDTH, HEIGHT, WIDTH, HEIGHT)),
            atol=1e-3,
        )
        np.testing.assert_array_equal(results["gt_ignore_flags"], kept == 2)
        assert len(results["gt_keypoints"]) == len(kept)
        assert masks is None or len(results["gt_masks"]) == len(kept)
        assert results["img"].shape == (HEIGHT, WIDTH, 3)
        run(results, dict(type="PackKeypointInputs"))
        dropped += 5 - len(kept)
    assert dropped > 0


def test_bitmaps_and_polygons_move_alike():
    for seed in range(4):
        bitmaps = run(people(seed), load("bitmap"), WILD, seed=seed)["gt_masks"].masks
        polygons = run(people(seed), load("polygon"), WILD, seed=seed)["gt_masks"].to_ndarray()
        for a, b in zip(bitmaps, polygons, strict=True):
            union = (a | b).sum()
            assert union == 0 or (a & b).sum() / union > 0.9 or union < 100
            if union >= 100:  # not half a pixel apart
                ya, xa = np.nonzero(a)
                yb, xb = np.nonzero(b)
                assert abs(xa.mean() - xb.mean()) < 0.2
                assert abs(ya.mean() - yb.mean()) < 0.2


@pytest.mark.parametrize("masks", ["bitmap", "polygon"])
def test_recomputed_boxes_bound_the_moved_masks(masks: str):
    """Bounds of the pixels, or of the cut polygon; instances without a mask left are dropped."""
    dropped = tighter = 0
    for seed in range(12):
        results = run(people(seed), load(masks), dict(WILD, recompute_bbox=True), seed=seed)
        plain = run(people(seed), load(masks), WILD, seed=seed)
        kept = results["gt_bboxes_labels"]
        for label, box, mask in zip(
            kept, results["gt_bboxes"].numpy(), results["gt_masks"].masks, strict=True
        ):
            if masks == "bitmap":
                x, y, w, h = cv2.boundingRect(mask)
                expected = (x, y, x + w, y + h)
            else:
                outline = np.concatenate(mask).reshape(-1, 2)
                expected = (*outline.min(0), *outline.max(0))
            np.testing.assert_allclose(box, expected, atol=1e-4)
            loose = plain["gt_bboxes"].numpy()[plain["gt_bboxes_labels"] == label][0]
            tighter += (box[2:] - box[:2]).prod() < 0.9 * (loose[2:] - loose[:2]).prod()
        dropped += len(plain["gt_bboxes_labels"]) - len(kept)
        assert set(kept) <= set(plain["gt_bboxes_labels"])
        run(results, dict(type="PackKeypointInputs"))
    assert tighter > 0
    assert dropped > 0


def test_recompute_keeps_an_ignored_instance_that_never_had_a_mask():
    """A crowd's RLE is no polygon: mmdet gives it a dummy polygon and ignores it."""
    scene = people()
    scene["instances"][1]["mask"] = dict(size=[HEIGHT, WIDTH], counts=[HEIGHT * WIDTH])
    results = run(scene, load("polygon"), dict(STILL, recompute_bbox=True))
    np.testing.assert_array_equal(results["gt_bboxes_labels"], range(5))
    np.testing.assert_array_equal(results["gt_ignore_flags"], [0, 1, 1, 0, 0])
    np.testing.assert_allclose(
        results["gt_bboxes"].numpy()[1], scene["instances"][1]["bbox"], atol=1e-4
    )


def test_segmentation_map_moves_too():
    scene = run(people(), load())
    scene["gt_seg_map"] = np.zeros((HEIGHT, WIDTH), np.uint8)
    scene["gt_seg_map"][scene["gt_masks"].masks[0] == 1] = 7
    results = run(scene, dict(WILD, max_translate_ratio=0, scaling_ratio_range=(0.6, 0.7)))
    mask = results["gt_masks"].masks[0] == 1
    assert (results["gt_seg_map"][mask] == 7).mean() > 0.95
    assert results["gt_seg_map"][0, 0] == 255  # outside the old image


def test_prob_and_no_step():
    """With prob=0 nothing happens; a step of nothing but zeros changes no pixel."""
    for options in (dict(WILD, prob=0), STILL):
        before = run(people(), load())
        after = run(people(), load(), options)
        np.testing.assert_array_equal(after["img"], before["img"])
        np.testing.assert_array_equal(after["gt_masks"].masks, before["gt_masks"].masks)
        np.testing.assert_array_equal(after["gt_keypoints"], before["gt_keypoints"])
        np.testing.assert_allclose(after["gt_bboxes"].numpy(), before["gt_bboxes"].numpy())
        assert ("homography_matrix" in after) == (options is STILL)
    moved = sum(
        "homography_matrix" in run(people(), dict(WILD, prob=0.5), seed=s) for s in range(40)
    )
    assert 10 < moved < 30


def test_random_numbers_can_be_shared():
    """mmcv's wrappers for several images draw once."""
    transform = TRANSFORMS.build(WILD)
    with cache_random_params(transform):
        first, second = transform(people(0)), transform(people(1))
    np.testing.assert_array_equal(first["homography_matrix"], second["homography_matrix"])
    assert not np.array_equal(transform(people(0))["homography_matrix"], first["homography_matrix"])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_rotate_degree", -1),
        ("max_translate_ratio", 1.5),
        ("scaling_ratio_range", (1.5, 0.5)),
        ("scaling_ratio_range", (0, 1)),
        ("max_shear_degree", 45),
        ("prob", 2),
    ],
)
def test_options_out_of_range(option: str, value: object):
    with pytest.raises(ValueError, match=f"KeypointRandomAffine takes {option} .*not "):
        TRANSFORMS.build({"type": "KeypointRandomAffine", option: value})


def test_recompute_needs_masks():
    with pytest.raises(ValueError, match=r"recompute_bbox=True.*with_mask=True"):
        run(people(), load(None), dict(WILD, recompute_bbox=True))
