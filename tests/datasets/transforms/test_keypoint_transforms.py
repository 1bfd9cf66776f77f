"""Each transform against its mmdet base, and keypoints against direct formulas."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from marker_scenes import FLIP_INDICES, bare, instance, load, run, scene
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes

POINTS = np.array([[60.25, 50.5], [120.0, 80.75], [90.5, 110.125]])
PAIRS = [
    ("Resize", dict(scale=(333, 200), keep_ratio=True)),
    ("Resize", dict(scale=(100, 130), keep_ratio=False)),
    ("Resize", dict(scale_factor=1.7, keep_ratio=True, clip_object_border=False)),
    ("RandomFlip", dict(prob=0.5)),
    ("RandomFlip", dict(prob=[0.3, 0.3, 0.3], direction=["horizontal", "vertical", "diagonal"])),
    ("RandomCrop", dict(crop_size=(90, 80))),
    ("RandomCrop", dict(crop_size=(90, 80), allow_negative_crop=True, bbox_clip_border=False)),
    ("RandomCrop", dict(crop_size=(0.4, 0.5), crop_type="relative_range", recompute_bbox=True)),
    ("RandomCrop", dict(crop_size=(50, 120), crop_type="absolute_range")),
    ("Pad", dict(size=(300, 320))),
    ("Pad", dict(size_divisor=32, padding_mode="reflect")),
    ("FilterAnnotations", dict(min_gt_bbox_wh=(60, 20))),
    ("FilterAnnotations", dict(min_gt_bbox_wh=(10, 40), keep_empty=False)),
]
BY_MASK = ("FilterAnnotations", dict(min_gt_mask_area=2000, by_mask=True, by_box=False))


def crowded_scene(seed: int = 0, count: int = 6) -> dict:
    """Instances of random boxes, every third a crowd, keypoints anywhere, some unlabeled."""
    rng = np.random.default_rng(seed)
    instances = []
    for k in range(count):
        x1, y1 = rng.uniform(0, 150), rng.uniform(0, 110)
        box = (x1, y1, x1 + rng.uniform(10, 70), y1 + rng.uniform(10, 50))
        points = rng.uniform((0, 0), (220, 160), (3, 2))
        instances.append(instance(box, points, visible=tuple(rng.integers(0, 3, 3))))
        instances[-1].update(bbox_label=k, ignore_flag=int(k % 3 == 2))
    return bare(rng.integers(0, 256, (160, 220, 3)).astype(np.uint8), instances)


def moved(before: np.ndarray, matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Keypoints by a loop: move, swap when mirrored, forget outside."""
    after = np.zeros_like(before)
    mirrored = np.linalg.det(matrix[:2, :2]) < 0
    for n, instance_keypoints in enumerate(before):
        for k, (x, y, v) in enumerate(instance_keypoints):
            x, y, _ = matrix @ (x, y, 1)
            if v > 0 and 0 <= x <= shape[1] and 0 <= y <= shape[0]:
                after[n, FLIP_INDICES[k] if mirrored else k] = x, y, v
    return after


def assert_same(ours: dict | None, mmdets: dict | None) -> None:
    """Equal in every key of mmdet's results but keypoints."""
    assert (ours is None) == (mmdets is None)
    if mmdets is None:
        return
    assert set(ours) - {"gt_keypoints", "keypoint_record"} == set(mmdets)
    for key, expected in mmdets.items():
        given = ours[key]
        assert type(given) is type(expected), key
        if key == "gt_masks":
            assert (given.height, given.width) == (expected.height, expected.width)
            given, expected = given.to_ndarray(), expected.to_ndarray()
        elif key == "gt_bboxes":
            given, expected = given.numpy(), expected.numpy()
        elif key == "instances":
            continue
        if isinstance(expected, np.ndarray):
            assert given.dtype == expected.dtype, key
        np.testing.assert_array_equal(given, expected, err_msg=key)


@pytest.mark.parametrize("with_keypoints", [True, False])
@pytest.mark.parametrize(
    ("base", "options", "masks"),
    [(*pair, masks) for masks in ("bitmap", "polygon", None) for pair in PAIRS]
    + [(*BY_MASK, "bitmap"), (*BY_MASK, "polygon")],
)
def test_all_but_keypoints_equals_mmdet(
    base: str, options: dict, with_keypoints: bool, masks: str | None
):
    """Same random numbers, image, boxes, masks, flags, meta and homography, with and without."""
    for seed in range(4):
        first = dict(type="RandomFlip", prob=0.5)  # so that there is an earlier homography
        loader = load(masks, with_keypoints=with_keypoints)
        ours = run(
            crowded_scene(seed),
            loader,
            dict(first, type="KeypointRandomFlip"),
            dict(options, type=_ours(base)),
            seed=seed,
        )
        after_ours = np.random.rand()
        mmdets = run(
            crowded_scene(seed),
            dict(loader, type="LoadAnnotations", with_keypoints=False),
            first,
            dict(options, type=base),
            seed=seed,
        )
        assert np.random.rand() == after_ours
        assert_same(ours, mmdets)
        assert ours is None or ("gt_keypoints" in ours) == with_keypoints


@pytest.mark.parametrize(("base", "options"), [*PAIRS, BY_MASK])
def test_keypoints_follow_the_instances_that_stay(base: str, options: dict):
    """The label (here the instance's number) tells whose keypoints they should be."""
    dropped = 0
    for seed in range(10):
        loaded = run(crowded_scene(seed), load())
        before = loaded["gt_keypoints"]
        results = run(loaded, dict(options, type=_ours(base)), seed=seed)
        if results is None:
            continue
        kept = results["gt_bboxes_labels"]
        dropped += len(before) - len(kept)
        matrix = results.get("homography_matrix", np.eye(3))
        expected = before[kept]
        if "homography_matrix" in results:
            expected = moved(expected, matrix, results["img_shape"])
        np.testing.assert_allclose(results["gt_keypoints"], expected, atol=2e-4)
        np.testing.assert_array_equal(results["gt_ignore_flags"], kept % 3 == 2)
        packed = run(results, dict(type="PackKeypointInputs"))["data_samples"]
        np.testing.assert_array_equal(
            packed.gt_instances.keypoints, results["gt_keypoints"][kept % 3 != 2]
        )
        np.testing.assert_array_equal(
            packed.ignored_instances.keypoints, results["gt_keypoints"][kept % 3 == 2]
        )
        np.testing.assert_array_equal(packed.gt_instances.labels, kept[kept % 3 != 2])
        assert packed.gt_instances.keypoints.dtype == torch.float32
        assert packed.keypoint_flip_indices == FLIP_INDICES
    assert (dropped > 0) == (base in ("RandomCrop", "FilterAnnotations"))


def test_a_crop_without_boxes_gives_none_and_spares_other_images():
    """mmdet's RandomCrop returns None; with allow_negative_crop no instance, no keypoint."""
    far = [instance((0, 0, 20, 20), POINTS, visible=(2, 0, 1))]
    nones = empties = 0
    for seed in range(12):
        for negative in (False, True):
            crop = dict(type="KeypointRandomCrop", crop_size=(60, 60), allow_negative_crop=negative)
            loaded = run(bare(np.zeros((160, 220, 3), np.uint8), far), load())
            results = run(loaded, crop, seed=seed)
            if results is None:
                nones += 1
                assert not negative
            elif len(results["gt_bboxes"]) == 0:
                empties += 1
                assert results["gt_keypoints"].shape == (0, 3, 3)
                run(results, dict(type="PackKeypointInputs"))
    assert nones == empties > 0


def test_ids_of_instances_follow_too():
    """gt_instances_ids of tracking datasets are mmdet's own to filter."""
    results = run(crowded_scene(1), load())
    results["gt_instances_ids"] = results["gt_bboxes_labels"] + 100
    results = run(results, dict(type="KeypointRandomCrop", crop_size=(90, 80)), seed=2)
    assert len(results["gt_instances_ids"]) < 6
    np.testing.assert_array_equal(results["gt_instances_ids"], results["gt_bboxes_labels"] + 100)


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_flip_twice_is_the_identity(direction: str):
    before = run(crowded_scene(3), load())
    flip = dict(type="KeypointRandomFlip", prob=1.0, direction=direction)
    once = run(copy.deepcopy(before), flip)
    assert not np.allclose(once["gt_keypoints"], before["gt_keypoints"])
    twice = run(copy.deepcopy(once), flip)
    np.testing.assert_allclose(twice["gt_keypoints"], before["gt_keypoints"], atol=1e-4)
    np.testing.assert_array_equal(twice["img"], before["img"])


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        # of a 220 x 160 image: x -> 220 - x, y -> 160 - y; half a turn swaps nothing
        ("horizontal", [[100, 80.75, 2], [159.75, 50.5, 2], [0, 0, 0]]),
        ("vertical", [[120, 79.25, 2], [60.25, 109.5, 2], [0, 0, 0]]),
        ("diagonal", [[159.75, 109.5, 2], [100, 79.25, 2], [0, 0, 0]]),
    ],
)
def test_flips_as_detectron2(direction: str, expected: list):
    """Detectron2's HFlipTransform is x -> W - x on continuous points, then left/right swap."""
    one = instance((50, 40, 130, 120), POINTS, visible=(2, 2, 0))
    results = run(
        bare(np.zeros((160, 220, 3), np.uint8), [one]),
        load(),
        dict(type="KeypointRandomFlip", prob=1.0, direction=direction),
    )
    np.testing.assert_allclose(results["gt_keypoints"][0], expected, atol=1e-4)


def test_keypoints_outside_lose_their_label():
    """Inside is 0 <= x <= W, as Detectron2 has it; outside and unlabeled are all zeros."""
    points = np.array([[110.0, 80.0], [109.0, 80.5], [30.0, 20.0]])
    one = instance((20, 10, 120, 90), points)
    crop = dict(type="KeypointRandomCrop", crop_size=(110, 80))
    # of the two margins (110, 80) take none: the crop is [0, 110] x [0, 80]
    transform = TRANSFORMS.build(crop)
    transform._rand_offset = lambda margin: (0, 0)
    loaded = run(bare(np.zeros((160, 220, 3), np.uint8), [one]), load())
    keypoints = transform(loaded)["gt_keypoints"][0]
    np.testing.assert_array_equal(keypoints, [[110, 80, 2], [0, 0, 0], [30, 20, 1]])


def test_no_instances():
    """An image without annotations keeps its K, through every transform."""
    results = run(
        bare(np.zeros((160, 220, 3), np.uint8), []),
        load(),
        dict(type="KeypointResize", scale=(300, 300), keep_ratio=True),
        dict(type="KeypointRandomFlip", prob=1.0),
        dict(type="KeypointRandomAffine"),
        dict(type="KeypointRandomCrop", crop_size=(99, 99), allow_negative_crop=True),
        dict(type="KeypointPad", size_divisor=32),
        dict(type="KeypointFilterAnnotations"),
        dict(type="PackKeypointInputs"),
    )
    assert results["data_samples"].gt_instances.keypoints.shape == (0, 3, 3)


def test_boxes_as_arrays():
    """box_type=None keeps boxes as arrays, and all else."""
    steps = (
        dict(type="KeypointRandomFlip", prob=1.0),
        dict(type="KeypointRandomAffine"),
        dict(type="KeypointRandomCrop", crop_size=(150, 120)),
        dict(type="KeypointFilterAnnotations", min_gt_bbox_wh=(15, 15)),
    )
    arrays = run(crowded_scene(5), load(box_type=None), *steps)
    boxes = run(crowded_scene(5), load(), *steps)
    assert isinstance(arrays["gt_bboxes"], np.ndarray)
    assert isinstance(boxes["gt_bboxes"], HorizontalBoxes)
    np.testing.assert_array_equal(arrays["gt_bboxes"], boxes["gt_bboxes"].numpy())
    np.testing.assert_array_equal(arrays["gt_keypoints"], boxes["gt_keypoints"])
    run(arrays, dict(type="PackKeypointInputs"))


def test_homography_of_a_whole_pipeline_equals_mmdet():
    steps = [
        dict(type="Resize", scale=(333, 200), keep_ratio=True),
        dict(type="RandomFlip", prob=0.7),
        dict(type="RandomCrop", crop_size=(200, 150), allow_negative_crop=True),
        dict(type="Resize", scale=(111, 222), keep_ratio=False),
    ]
    for seed in range(4):
        mmdets = run(scene(POINTS), dict(type="LoadAnnotations"), *steps, seed=seed)
        ours = run(scene(POINTS), load(None), *_all_ours(steps), seed=seed)
        np.testing.assert_array_equal(ours["homography_matrix"], mmdets["homography_matrix"])
        points = np.concatenate([POINTS, np.full((3, 1), 2)], 1)
        points[2, 2] = 1
        expected = moved(points[None], mmdets["homography_matrix"], ours["img_shape"])
        np.testing.assert_allclose(ours["gt_keypoints"], expected, atol=1e-3)


def _ours(base: str) -> str:
    return f"Keypoint{base}"


def _all_ours(steps: list[dict]) -> list[dict]:
    return [dict(step, type=_ours(step["type"])) for step in steps]
