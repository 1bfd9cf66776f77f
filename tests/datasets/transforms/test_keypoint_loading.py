"""Loading keypoints: half a pixel, order, test pipelines that resize first; real photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from marker_scenes import bare, instance, load, run, scene
from mmdet.registry import TRANSFORMS
from scipy.ndimage import binary_dilation

PHOTO = np.zeros((160, 220, 3), np.uint8)
POINTS = np.array([[60.5, 50.5], [120.5, 80.5], [90.5, 110.5]])
BOX = (50, 40, 130, 120)


def test_half_a_pixel_is_added_where_there_is_a_label():
    """Detectron2's convention: COCO's pixel 60 has its center at 60.5."""
    one = instance(BOX, POINTS)
    one["keypoints"] = [[60, 50, 2], [0, 0, 0], [0, 0, 1]]  # a list, as JSON gives it
    keypoints = run(bare(PHOTO, [one]), load())["gt_keypoints"]
    np.testing.assert_array_equal(keypoints, [[[60.5, 50.5, 2], [0, 0, 0], [0.5, 0.5, 1]]])
    assert keypoints.dtype == np.float32


def test_flat_coco_arrays_load_too():
    one = instance(BOX, POINTS)
    one["keypoints"] = one["keypoints"].reshape(-1).tolist()
    keypoints = run(bare(PHOTO, [one]), load())["gt_keypoints"]
    np.testing.assert_array_equal(keypoints[0, :, :2], POINTS)


def test_loading_leaves_the_data_set_as_it_is():
    results = bare(PHOTO, [instance(BOX, POINTS)])
    given = results["instances"][0]["keypoints"]
    before = given.copy()
    run(results, load(), dict(type="KeypointRandomFlip", prob=1.0))
    np.testing.assert_array_equal(given, before)


def test_ignored_instances_keep_their_place():
    """Crowds, and masks that mmdet finds invalid, are ignored but keep box and keypoints."""
    instances = [instance(BOX, POINTS + shift) for shift in (0, 1, 2)]
    instances[0]["ignore_flag"] = 1
    instances[1]["mask"] = [[1, 2, 3]]
    results = run(bare(PHOTO, instances), load("polygon"), dict(type="PackKeypointInputs"))
    sample = results["data_samples"]
    np.testing.assert_array_equal(sample.gt_instances.keypoints[:, :, :2], POINTS[None] + 2)
    np.testing.assert_array_equal(
        sample.ignored_instances.keypoints[:, :, :2], [POINTS, POINTS + 1]
    )


def test_without_keypoints_as_mmdet():
    results = run(bare(PHOTO, [instance(BOX, POINTS)]), load(with_keypoints=False))
    assert not {"gt_keypoints", "keypoint_record"} & set(results)


def test_keypoints_need_boxes():
    with pytest.raises(ValueError, match=r"with_bbox=False.* set with_bbox=True"):
        TRANSFORMS.build(load(with_bbox=False))
    TRANSFORMS.build(load(with_bbox=False, with_keypoints=False))


@pytest.mark.parametrize("missing", [True, False])
def test_another_number_of_keypoints(missing: bool):
    one = instance(BOX, POINTS)
    one["keypoints"] = np.zeros((17, 3))
    if missing:
        del one["keypoints"]
    number = 0 if missing else 51
    with pytest.raises(
        ValueError, match=rf"photo\.jpg: .* {number} keypoint values instead of 3 \* 3"
    ):
        run(bare(PHOTO, [one]), load())


def test_a_data_set_without_keypoints():
    results = bare(PHOTO, [])
    del results["keypoint_flip_indices"]
    with pytest.raises(ValueError, match=r"photo\.jpg: the dataset has no keypoints.*Coco"):
        run(results, load())


def test_an_image_without_ground_truth():
    """The pipeline of an inferencer: no instances, no dataset, and no complaint."""
    image = dict(img=PHOTO, img_id=0, img_path=None, img_shape=(160, 220), ori_shape=(160, 220))
    results = run(
        image,
        dict(type="KeypointResize", scale=(440, 320), keep_ratio=True),
        load(),
        dict(type="PackKeypointInputs"),
    )
    assert "keypoints" not in results["data_samples"].gt_instances


@pytest.mark.parametrize("resize", ["Resize", "KeypointResize"])
def test_resize_before_loading(resize: str):
    """The order of mmdet's test pipelines: ground truth stays in pixels of the original image."""
    results = run(
        scene(POINTS),
        dict(type=resize, scale=(440, 320), keep_ratio=True),
        load(),
        dict(type="PackKeypointInputs"),
    )
    gt = results["data_samples"].gt_instances
    assert results["inputs"].shape == (3, 320, 440)
    np.testing.assert_array_equal(gt.keypoints[0, :, :2], POINTS)
    assert (gt.bboxes.tensor.numpy() <= (220, 160, 220, 160)).all()
    assert gt.masks.masks.shape == (1, 160, 220)


def test_moving_an_image_on_after_such_a_resize():
    """Boxes, masks and keypoints would be flipped in the wrong image; padding harms nothing."""
    resize = dict(type="KeypointResize", scale=(440, 320), keep_ratio=True)
    with pytest.raises(ValueError, match=r"KeypointRandomFlip moves .* before all geometric"):
        run(scene(POINTS), resize, load(), dict(type="KeypointRandomFlip", prob=1.0))
    results = run(
        scene(POINTS),
        resize,
        load(),
        dict(type="KeypointRandomFlip", prob=0.0),
        dict(type="KeypointPad", size_divisor=64),
        dict(type="PackKeypointInputs"),
    )
    np.testing.assert_array_equal(results["data_samples"].gt_instances.keypoints[0, :, :2], POINTS)


def test_people_of_real_photos_keep_their_keypoints(coco_mini: Path):
    """After large scale jitter and rotation, visible keypoints are in their person's mask.

    The mask is grown by three pixels, before and after: outlines are drawn by hand.
    """
    steps = (
        dict(
            type="RandomResize",
            scale=(500, 500),
            ratio_range=(0.7, 1.5),
            keep_ratio=True,
            resize_type="KeypointResize",
        ),
        dict(type="KeypointRandomFlip", prob=0.5),
        dict(type="KeypointRandomAffine", max_rotate_degree=45),
        dict(type="KeypointRandomCrop", crop_size=(450, 450)),
        dict(type="KeypointPad", size=(450, 450)),
    )
    before = after = 0
    total_before = total_after = 0
    for number, results in enumerate(_coco_people(coco_mini, 12)):
        loaded = run(results, dict(type="LoadImageFromFile"), load("bitmap"))
        inside, total = _inside(loaded)
        before, total_before = before + inside, total_before + total
        moved = run(loaded, *steps, seed=number)
        if moved is None:
            continue
        inside, total = _inside(moved)
        after, total_after = after + inside, total_after + total
    assert total_after > 100
    assert before == total_before
    assert after >= 0.99 * total_after


def _inside(results: dict, pixels: int = 3) -> tuple[int, int]:
    """How many labeled keypoints lie in their mask grown by some pixels, and how many there are.

    Occluded ones (v = 1) may lie in a part of the body that the mask leaves out.
    """
    inside = total = 0
    for mask, keypoints in zip(results["gt_masks"].masks, results["gt_keypoints"], strict=True):
        grown = binary_dilation(mask, iterations=pixels)
        for x, y, _ in keypoints[keypoints[:, 2] == 2]:
            inside += grown[min(int(y), len(mask) - 1), min(int(x), mask.shape[1] - 1)]
            total += 1
    return inside, total


def _coco_people(root: Path, count: int) -> list[dict]:
    content = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    flip = [0, *(k + 1 if k % 2 else k - 1 for k in range(1, 17))]
    people = []
    for image in content["images"]:
        found = [
            a
            for a in content["annotations"]
            if a["image_id"] == image["id"] and not a["iscrowd"] and a["num_keypoints"] >= 6
        ]
        if found and len(people) < count:
            path = root / "val2017" / image["file_name"]
            people.append(dict(img_path=str(path), img_id=image["id"], keypoint_flip_indices=flip))
            people[-1]["instances"] = [
                dict(
                    bbox=[x, y, x + w, y + h],
                    bbox_label=0,
                    ignore_flag=0,
                    mask=a["segmentation"],
                    keypoints=a["keypoints"],
                )
                for a in found
                for x, y, w, h in [a["bbox"]]
            ]
    return people
