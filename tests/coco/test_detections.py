"""Detections in COCO's form and in ours: values by hand, and there and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mmdet_maskr.coco import form
from mmdet_maskr.coco.detections import KINDS, Detections

RLES = [dict(size=[30, 40], counts=b"a"), dict(size=[30, 40], counts="b")]
LISTS = dict(
    labels=[1, 0, 1], scores=[0.9, 0.5, 0.25],
    bboxes=[[1.0, 2.0, 11.0, 22.5], [0, 0, 4, 4], [5, 5, 6, 7]], masks=[*RLES, RLES[0]],
    keypoints=[[[3.5, 4.5], [5.0, 6.0]], [], [[1.0, 1.0], [2.0, 2.0]]],
    keypoint_scores=[[0.7, -0.2], [], [0.0, 0.0]],
)  # fmt: skip


def test_by_hand():
    """x, y, width, height; pixel indices; texts; what has no keypoints or category has none."""
    found = Detections.of([("1.jpg", LISTS)], {0: 17, 1: 18}, KINDS)
    assert json.loads(json.dumps(found.to_coco())) == [
        dict(image_id="1.jpg", category_id=18, score=0.9, bbox=[1, 2, 10, 20.5],
             segmentation=dict(size=[30, 40], counts="a"), keypoints=[3, 4, 0.7, 4.5, 5.5, -0.2]),
        dict(image_id="1.jpg", category_id=17, score=0.5, bbox=[0, 0, 4, 4], segmentation=RLES[1]),
        dict(image_id="1.jpg", category_id=18, score=0.25, bbox=[5, 5, 1, 2],
             segmentation=dict(size=[30, 40], counts="a"), keypoints=[0.5, 0.5, 0, 1.5, 1.5, 0]),
    ]  # fmt: skip
    points = Detections.of([("1.jpg", LISTS)], {0: 17, 1: 18}, {"keypoints"})
    assert points.category_ids == [18, 18] and points.boxes is None
    assert points.to_coco()[0].keys() == {"image_id", "category_id", "score", "keypoints"}
    (only,) = Detections.of([("1.jpg", LISTS)], {0: 17}, {"bbox", "keypoints"}).to_coco()
    assert only == dict(image_id="1.jpg", category_id=17, score=0.5, bbox=[0, 0, 4, 4])


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str):
    records = Detections.of([(7, LISTS), (8, LISTS)], {0: 17, 1: 18}, {kind}).to_coco()
    found = Detections.from_coco(records, kind)
    assert found.to_coco() == records
    nothing = Detections.from_coco([], kind)
    assert nothing.to_coco() == [] and len(nothing.best(3).scores) == 0
    assert Detections.of([], {0: 17}, {kind}).to_coco() == []


def test_tensors_and_arrays_are_lists():
    """Of float32, as models give them: the numbers are those of float64 arithmetic on them."""
    rng = np.random.default_rng(0)
    arrays = dict(
        labels=np.array([0, 1, 1]), scores=rng.random(3, np.float32),
        bboxes=(100 * rng.random((3, 4))).astype(np.float32), masks=[RLES[0]] * 3,
        keypoints=(100 * rng.random((3, 5, 2))).astype(np.float32),
        keypoint_scores=rng.random((3, 5), np.float32),
    )  # fmt: skip
    tensors = {k: v if k == "masks" else torch.from_numpy(v) for k, v in arrays.items()}
    lists = {k: v if k == "masks" else v.tolist() for k, v in arrays.items()}
    expected = Detections.of([(1, lists)], {0: 5, 1: 6}, KINDS).to_coco()
    for same in (arrays, tensors):
        assert Detections.of([(1, same)], {0: 5, 1: 6}, KINDS).to_coco() == expected
    x1, y1, x2, y2 = arrays["bboxes"][1].tolist()
    assert expected[1]["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_ids_of_the_best_and_who_has_keypoints():
    found = Detections.of([(1, LISTS), (2, LISTS)], {0: 17, 1: 18}, KINDS).best(1)
    assert found.image_ids == [1, 1, 2, 2] and found.scores.tolist() == [0.9, 0.5] * 2
    assert ["keypoints" in record for record in found.to_coco()] == [True, False] * 2


def test_not_in_the_form():
    for kind, value in (("bbox", [1, 2, 3]), ("keypoints", [1, 2]), ("keypoints", ["x", 1, 2])):
        field = "bbox" if kind == "bbox" else "keypoints"
        with pytest.raises(ValueError):
            Detections.from_coco([dict(image_id=1, category_id=1, score=1, **{field: value})], kind)


def test_annotations():
    """What is not labeled has no place; hidden and visible keypoints are half a pixel further."""
    points = form.annotated_keypoints([[[3, 4, 2], [9, 9, 0], [0, 0, 1]]])
    assert points.tolist() == [[[3.5, 4.5, 2], [0, 0, 0], [0.5, 0.5, 1]]]
    assert form.boxes_of([dict(bbox=[1, 2, 3, 4])]).tolist() == [[1, 2, 4, 6]]
    assert form.boxes_of([]).shape == (0, 4)
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 99, (5, 4)).astype(float)
    np.testing.assert_array_equal(form.to_corners(form.to_sides(corners)), corners)
    np.testing.assert_array_equal(form.to_pixels(form.to_indices(corners[:, :3])), corners[:, :3])


def _predicted(count: int) -> dict:
    return dict(labels=[0] * count, scores=[0.5] * count, bboxes=[[1.0, 2.0, 5.0, 6.0]] * count)


def test_predictions_are_read_once():
    """They may come from a generator."""
    given = ((image_id, _predicted(image_id)) for image_id in (1, 2))
    found = Detections.of(given, {0: 7}, {"bbox"})
    assert found.image_ids == [1, 2, 2] and found.category_ids == [7, 7, 7]


@pytest.mark.parametrize("field", ["scores", "bboxes"])
def test_as_many_of_each_as_labels(field: str):
    """Also where the numbers of all images together agree."""
    first, second = _predicted(2), _predicted(2)
    first[field], second[field] = first[field][:1], second[field] + second[field][:1]
    with pytest.raises(ValueError, match=f"must have as many {field} as labels"):
        Detections.of([(1, first), (2, second)], {0: 7}, {"bbox"})
