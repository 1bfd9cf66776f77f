"""Keypoint datasets that work on the index give what reading all at once does."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keypoint_cases import BIRD, annotation, coco, write

from mmdet_maskr.datasets import CocoJointDataset, CocoKeypointDataset, ShapesDataset, coco_keypoint
from mmdet_maskr.datasets.indexed_items import IndexedItems
from mmdet_maskr.errors import UserError

META: dict[str, Any] = dict(classes=("bird", "nest"), keypoint_classes=("bird",), **BIRD)


def at_once(kind: type) -> type:
    """The same dataset, which reads everything at once."""
    return type("AtOnce", (kind,), dict(READS_INDEX=False, METAINFO=kind.METAINFO))


def both(kind: type, **options: Any) -> tuple[Any, Any]:
    """A dataset on the index, and the same with everything read at once."""
    found = tuple(k(**dict(dict(pipeline=[]), **options)) for k in (kind, at_once(kind)))
    assert not isinstance(found[1].data_list, IndexedItems)
    return found


def assert_same(ours: Any, others: Any) -> int:
    """Equal images; the number of keypoints that were compared."""
    assert len(ours) == len(others) > 0
    labeled = 0
    for k in range(len(ours)):
        own, other = ours.get_data_info(k), others.get_data_info(k)
        assert ours.get_cat_ids(k) == others.get_cat_ids(k)
        assert len(own["instances"]) == len(other["instances"])
        for here, there in zip(own.pop("instances"), other.pop("instances"), strict=True):
            points, expected = here.pop("keypoints"), there.pop("keypoints")
            assert points.dtype == expected.dtype == np.float32
            assert np.array_equal(points, expected)
            assert here == there
            labeled += here["num_keypoints"]
        assert own == other
    return labeled


@pytest.mark.parametrize("least", [0, 1, 12])
@pytest.mark.parametrize("joint", [False, True])
def test_real_persons(coco_mini: Path, joint: bool, least: int):
    persons = "annotations/person_keypoints_val2017.json"
    files = dict(ann_file=persons)
    if joint:
        files = dict(ann_file="annotations/instances_val2017.json", keypoint_ann_file=persons)
    ours, others = both(
        CocoJointDataset if joint else CocoKeypointDataset,
        data_root=str(coco_mini),
        data_prefix=dict(img="val2017"),
        filter_cfg=dict(filter_empty_gt=True, min_visible_keypoints=least),
        **files,
    )
    assert isinstance(ours.data_list, IndexedItems)
    assert assert_same(ours, others) > 500


def test_shapes(shapes_root: Path):
    ours, others = both(
        ShapesDataset,
        data_root=str(shapes_root),
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train"),
    )
    assert isinstance(ours.data_list, IndexedItems)
    assert assert_same(ours, others) > 50


def birds() -> dict:
    """With and without keypoints, of two classes, crowds, and what is left out."""
    return coco(
        annotation(11),
        annotation(12, keypoints=None, num_keypoints=None),
        annotation(13, keypoints=[1, 2, 1, 3.5, 4, 2, 5, 6, 2], num_keypoints=None),
        annotation(14, category_id=2, keypoints=[1, 1, 2], num_keypoints=1),
        annotation(15, 2, keypoints=[0] * 9, num_keypoints=0),
        annotation(16, 2, iscrowd=1),
        annotation(17, 3, bbox=[1, 2, 0.5, 8]),
        annotation(18, 3, score=0.5),
    )


def options_of(root: Path) -> dict[str, Any]:
    files = dict(data_root=str(root), ann_file="ann.json", data_prefix=dict(img=""))
    return dict(files, crowds="keep", metainfo=META)


def small(root: Path, content: dict, **options: Any) -> tuple[Any, Any]:
    write(root, content)
    return both(CocoKeypointDataset, **options_of(root), **options)


def assert_refused(root: Path, content: dict, match: str, **options: Any) -> None:
    """By each of the two."""
    write(root, content)
    for kind in (CocoKeypointDataset, at_once(CocoKeypointDataset)):
        with pytest.raises(UserError, match=match):
            kind(pipeline=[], **options_of(root), **options)


@pytest.mark.parametrize("least", [0, 1, 3])
def test_birds(tmp_path: Path, least: int, monkeypatch: pytest.MonkeyPatch):
    logged: list[str] = []
    monkeypatch.setattr(coco_keypoint, "print_log", lambda text, **_: logged.append(text))
    ours, others = small(tmp_path, birds(), filter_cfg=dict(min_visible_keypoints=least))
    assert isinstance(ours.data_list, IndexedItems)
    assert assert_same(ours, others) == {0: 9, 1: 7, 3: 5}[least]
    assert len(ours) == {0: 3, 1: 2, 3: 1}[least]
    notes = [text for text in logged if "1 of 7 annotations have none; those of 1 " in text]
    assert len(notes) == 2 and notes[0] == notes[1]  # once by each
    logged.clear()
    assert len(pickle.dumps(ours)) < 20_000
    again = pickle.loads(pickle.dumps(ours))
    assert_same(again, ours)
    assert not logged


def test_two_files(tmp_path: Path):
    content = birds()
    for place, entry in enumerate(reversed(content["annotations"])):
        entry["id"] = 100 * place + 7
    alone = [{k: v for k, v in a.items() if k != "num_keypoints"} for a in content["annotations"]]
    points = dict(content, annotations=[a for a in alone if "keypoints" in a])
    (tmp_path / "points.json").write_text(json.dumps(points))
    boxes = [{k: v for k, v in a.items() if k != "keypoints"} for a in alone]
    ours, others = small(
        tmp_path, dict(content, annotations=boxes), keypoint_ann_file="points.json"
    )
    assert isinstance(ours.data_list, IndexedItems)
    assert assert_same(ours, others) == 9


def changed(**changes: Any) -> Callable[[dict], None]:
    return lambda content: content["annotations"][0].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        changed(keypoints=[1, 2, 2]),
        changed(keypoints=[1, 2, 3] * 3, num_keypoints=3),
        changed(keypoints=[1e39, 2, 2] * 3, num_keypoints=3),
        changed(num_keypoints=3),
        changed(num_keypoints="2"),
        changed(keypoints="none"),
        changed(keypoints=[]),
        changed(keypoints=[None, 5, 2, 12, 6, 1, 0, 0, 0]),
    ],
)
def test_what_is_wrong_is_said_as_before(tmp_path: Path, change: Callable[[dict], None]):
    content = birds()
    change(content)
    assert_refused(tmp_path, content, "annotation 11 of")


def test_a_class_without_any_keypoints(tmp_path: Path):
    content = birds()
    for entry in content["annotations"]:
        entry.pop("keypoints", None), entry.pop("num_keypoints", None)
    assert_refused(tmp_path, content, "none of the 7 annotations of 'bird'")
    content["categories"][0]["keypoints"] = list(BIRD["keypoints"])  # not labeled yet
    ours, others = small(tmp_path, content)
    assert isinstance(ours.data_list, IndexedItems)
    assert assert_same(ours, others) == 0


def test_files_that_do_not_fit(tmp_path: Path):
    content = birds()
    for entry in content["annotations"]:
        entry.pop("num_keypoints", None)
    boxes = [{k: v for k, v in a.items() if k != "keypoints"} for a in content["annotations"]]

    for points, match in (
        (annotation(99), r"not in .*, e\.g\. those with ids \[99\]"),
        (annotation(11, 2), "annotation 11 is a 'bird' in image 1 by"),
        (annotation(14), "annotation 14 is a 'nest' in image 1 by"),
    ):
        (tmp_path / "points.json").write_text(json.dumps(dict(content, annotations=[points])))
        joined = dict(content, annotations=boxes)
        assert_refused(tmp_path, joined, match, keypoint_ann_file="points.json")
