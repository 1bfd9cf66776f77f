"""Copy-paste: image, boxes, masks and keypoints in step, with exact values."""

from __future__ import annotations

import numpy as np
import pytest
from mmdet.datasets import MultiImageMixDataset
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.dataset import BaseDataset

from mmdet_maskr.datasets.transforms import InstanceCopyPaste, check_pipeline, record_step
from mmdet_maskr.datasets.transforms._in_step import check_in_step
from mmdet_maskr.datasets.transforms._pasting import PastedObject, paste
from mmdet_maskr.errors import UserError
from mmdet_maskr.structures import GeometryMasks
from mmdet_maskr.structures.shapes import Polygons

SIZE = (40, 60)  # height, width
FLIP = [0, 2, 1]  # a nose, and two hands


def square(x: int, y: int, side: int = 10) -> list[np.ndarray]:
    return [np.array([x, y, x + side, y, x + side, y + side, x, y + side], float)]


def make(kind: str = "geometry", value: int = 50, keypoints: bool = True) -> dict:
    """Squares of 10 pixels at x 5 and 30, y 10, and a crowd at x 45; three keypoints each."""
    shapes = [square(5, 10), square(30, 10), square(45, 10)]
    masks = GeometryMasks(shapes, *SIZE)
    results = dict(
        img=np.full((*SIZE, 3), value, np.uint8), img_path="a.png",
        gt_masks=masks if kind == "geometry" else masks.to_bitmap(),
        gt_bboxes=HorizontalBoxes([[5, 10, 15, 20], [30, 10, 40, 20], [45, 10, 55, 20]]),
        gt_bboxes_labels=np.array([1, 2, 3]), gt_ignore_flags=np.array([False, False, True]),
    )  # fmt: skip
    if keypoints:
        results["keypoint_flip_indices"] = FLIP
        results["gt_keypoints"] = np.array(
            [[[x + 1.5, 11.5, 2], [x + 4.5, 15.5, 2], [x + 8.5, 18.5, 1]] for x in (5, 30, 45)],
            np.float32,
        )
        record_step(results)
    return results


def patch(x: int, y: int, width: int, height: int, keypoints: np.ndarray | None = None):
    return PastedObject(
        np.full((height, width, 3), 200, np.uint8), np.ones((height, width), bool), (x, y), 7,
        keypoints,
    )  # fmt: skip


KINDS = pytest.mark.parametrize("kind", ["geometry", "bitmap"])


@KINDS
def test_what_is_hidden_is_taken_away(kind: str):
    """The right 4 of 10 columns of the first object, and its keypoints there."""
    results = make(kind)
    before = results["img"].copy()
    own = np.array([[12.5, 13.5, 2], [0, 0, 0], [14.5, 12.5, 2]], np.float32)
    paste(results, [patch(11, 8, 8, 14, own)], least_visible=0.3)
    assert (results["img"][8:22, 11:19] == 200).all() and (results["img"] == 200).sum() == 336
    assert (before == 50).all(), "the image itself is not painted over"
    assert results["gt_bboxes"].tensor.tolist() == [
        [5, 10, 11, 20], [30, 10, 40, 20], [45, 10, 55, 20], [11, 8, 19, 22],
    ]  # fmt: skip
    areas = results["gt_masks"].to_ndarray().sum((1, 2)).tolist()
    assert areas == [60, 100, 100, 112]
    assert results["gt_masks"].to_ndarray()[0, 10:20, 5:11].all()
    assert results["gt_bboxes_labels"].tolist() == [1, 2, 3, 7]
    assert results["gt_ignore_flags"].tolist() == [False, False, True, False]
    visibility = results["gt_keypoints"][..., 2].tolist()
    assert visibility == [[2, 2, 1], [2, 2, 1], [2, 2, 1], [2, 0, 2]], "x 6.5, 9.5 and 13.5"
    check_in_step(results)
    if kind == "geometry":
        kept = results["gt_masks"].shapes
        assert isinstance(kept[1], Polygons) and not isinstance(kept[0], Polygons)


def test_keypoints_under_an_object_are_occluded():
    results = make()
    paste(results, [patch(9, 14, 2, 3)], least_visible=0.3)
    assert results["gt_keypoints"][0, :, 2].tolist() == [2, 1, 1]
    assert results["gt_keypoints"][0, 1, :2].tolist() == [9.5, 15.5]
    assert results["gt_keypoints"][-1].tolist() == [[0, 0, 0]] * 3, "it has none of its own"


@KINDS
@pytest.mark.parametrize(("columns", "stays"), [(7, True), (8, False)])
def test_objects_that_are_hidden_are_dropped(kind: str, columns: int, stays: bool):
    """30 % are left of the first one, or 20 %; of a crowd one pixel is enough."""
    results = make(kind)
    paste(results, [patch(15 - columns, 10, columns, 10), patch(45, 10, 9, 10)], 0.3)
    assert (1 in results["gt_bboxes_labels"]) == stays
    assert 3 in results["gt_bboxes_labels"]
    row = results["gt_bboxes_labels"].tolist().index(3)
    assert results["gt_bboxes"].tensor[row].tolist() == [54, 10, 55, 20]
    count = 5 if stays else 4
    assert len(results["gt_masks"]) == len(results["gt_keypoints"]) == count
    assert len(results["gt_ignore_flags"]) == count


def test_pasted_objects_hide_one_another():
    """The second one covers all but two columns of the first, which is dropped; the third stays."""
    results = make()
    objects = [patch(20, 25, 10, 10), patch(22, 25, 10, 10), patch(40, 25, 5, 5)]
    paste(results, objects, least_visible=0.3)
    assert results["gt_bboxes"].tensor[3:].tolist() == [[22, 25, 32, 35], [40, 25, 45, 30]]
    assert not (results["gt_masks"].to_ndarray().sum(0) > 1).any(), "no pixel belongs to two"


def test_objects_with_a_box_only():
    """They keep box and shape while enough is in sight, and are not pasted."""
    results = make(keypoints=False)
    boxes = results["gt_masks"]
    boxes.shapes[0] = Polygons.of(square(5, 10), known=False)
    paste(results, [patch(12, 10, 3, 10)], least_visible=0.3)
    assert results["gt_bboxes"].tensor[0].tolist() == [5, 10, 15, 20]
    assert results["gt_masks"].known.tolist() == [False, True, True, True]
    transform = InstanceCopyPaste(prob=1, max_num=5)
    labels = set()
    for seed in range(20):
        np.random.seed(seed)
        fresh = make(keypoints=False)
        fresh["gt_masks"].shapes[0] = Polygons.of(square(5, 10), known=False)
        labels |= set(transform(fresh)["gt_bboxes_labels"][3:].tolist())
    assert labels == {2}, "neither the one with a box only nor the crowd"


def test_from_the_same_place_of_another_image():
    """Without jitter an object lands where it was, with its pixels and keypoints."""
    results, source = make(value=50), make(value=120)
    source["gt_masks"], source["gt_bboxes"] = source["gt_masks"][[0]], source["gt_bboxes"][[0]]
    for name in ("gt_bboxes_labels", "gt_ignore_flags", "gt_keypoints"):
        source[name] = source[name][:1]
    record_step(source)
    results["mix_results"] = [source]
    mixed = InstanceCopyPaste(prob=1, scale=(1, 1), place="same")(results)
    assert (mixed["img"][10:20, 5:15] == 120).all() and (mixed["img"] == 120).sum() == 300
    assert mixed["gt_bboxes_labels"].tolist() == [2, 3, 1], "what was there is wholly hidden"
    assert mixed["gt_bboxes"].tensor[-1].tolist() == [5, 10, 15, 20]
    assert np.array_equal(mixed["gt_keypoints"][-1], source["gt_keypoints"][0])


def test_scaled_and_mirrored():
    """Twice as large, hands exchanged: keypoints stay at the same share of the object."""
    results = make()
    results["mix_results"] = [make(value=120)]
    np.random.seed(1)
    mixed = InstanceCopyPaste(prob=1, max_num=1, scale=(2, 2), flip_prob=1)(results)
    x1, y1, x2, y2 = mixed["gt_bboxes"].tensor[-1].tolist()
    assert (x2 - x1, y2 - y1) == (20, 20)
    nose, left, right = mixed["gt_keypoints"][-1].tolist()
    assert nose == [x2 - 3, y1 + 3, 2], "1.5 from the left becomes 3 from the right"
    assert left == [x2 - 17, y1 + 17, 1] and right == [x2 - 9, y1 + 11, 2]
    check_in_step(mixed)


@KINDS
def test_boxes_are_the_bounds_of_masks(kind: str):
    """On random draws, with every object inside of the image and the flags in step."""
    transform = InstanceCopyPaste(prob=1, max_num=4, scale=(0.5, 6), flip_prob=0.5)
    for seed in range(30):
        np.random.seed(seed)
        mixed = transform(make(kind))
        pixels = mixed["gt_masks"].to_ndarray()
        bounds = BitmapMasks(pixels, *SIZE).get_bboxes("hbox").tensor
        assert np.array_equal(mixed["gt_bboxes"].tensor, bounds)
        assert not (pixels.sum(0) > 1).any()
        assert len(pixels) == len(mixed["gt_keypoints"]) == len(mixed["gt_ignore_flags"])
        check_in_step(mixed)


def test_the_seed_decides():
    def drawn(seed: int) -> np.ndarray:
        np.random.seed(seed)
        return InstanceCopyPaste(prob=1)(make())["gt_bboxes"].tensor.numpy()

    assert np.array_equal(drawn(3), drawn(3))
    assert len({drawn(seed).tobytes() for seed in range(8)}) > 4
    np.random.seed(0)
    untouched = InstanceCopyPaste(prob=0)(make())
    assert len(untouched["gt_masks"]) == 3 and (untouched["img"] == 50).all()


class Two(BaseDataset):
    """Two images of different brightness; the pipeline makes them."""

    METAINFO = dict(classes=("a", "b", "c", "d"))

    def load_data_list(self) -> list[dict]:
        return [dict(value=50), dict(value=120)]


@TRANSFORMS.register_module()
class MakeSample:
    """What :func:`make` gives."""

    def __call__(self, results: dict) -> dict:
        return make(value=results["value"])


def test_in_a_mixing_data_set():
    """Objects of the other image, or its own; a pipeline without mixing takes its own."""
    dataset = MultiImageMixDataset(
        dict(type=Two, pipeline=[dict(type="MakeSample")]),
        [dict(type="InstanceCopyPaste", prob=1.0)],
    )
    values = set()
    for seed in range(12):
        np.random.seed(seed)
        values |= set(np.unique(dataset[0]["img"]).tolist())
    assert values == {50, 120}


def test_misuse():
    for options in (
        dict(prob=1.5), dict(flip_prob=-1), dict(least_visible=0), dict(max_num=0),
        dict(scale=(2, 1)), dict(place="above"),
    ):  # fmt: skip
        with pytest.raises(UserError, match="InstanceCopyPaste"):
            InstanceCopyPaste(**options)
    polygons = make(keypoints=False)
    polygons["gt_masks"] = PolygonMasks([square(5, 10)] * 3, *SIZE)
    with pytest.raises(UserError, match="polygons"):
        InstanceCopyPaste(prob=1)(polygons)
    late = make(keypoints=False)
    late["img"] = late["img"][:20]
    with pytest.raises(UserError, match="before the image is resized"):
        InstanceCopyPaste(prob=1)(late)
    moved = make()
    moved["gt_bboxes"] = HorizontalBoxes(moved["gt_bboxes"].tensor + 1)
    with pytest.raises(UserError, match="boxes were moved"):
        InstanceCopyPaste(prob=1)(moved)


def test_pipelines_are_told_of_it():
    load = dict(type="LoadKeypointAnnotations", with_bbox=True, with_mask=True, poly2mask=None)
    build = TRANSFORMS.build
    check_pipeline([build(load), build(dict(type="InstanceCopyPaste"))])
    with pytest.raises(UserError, match="InstanceCopyPaste"):
        check_pipeline([build(load), build(dict(type="CopyPaste"))])
