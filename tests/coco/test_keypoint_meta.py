"""Names, swaps, sigmas and skeleton of keypoints, and what is refused among them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from mmdet_maskr.coco.keypoint_meta import (
    COCO_PERSON,
    check_keypoint_meta,
    flip_indices,
    keypoint_labels,
    skeleton_indices,
)
from mmdet_maskr.datasets import shapes
from mmdet_maskr.errors import UserError


def meta(**changes: object) -> dict:
    """Five keypoints of a 'bird'; a change to None leaves the key out."""
    content = dict(
        classes=("bird", "nest"),
        keypoints=("left_wing", "beak", "right_wing", "tail", "crown"),
        keypoint_swaps=(("left_wing", "right_wing"),),
        keypoint_sigmas=(0.05, 0.02, 0.05, 0.1, 1),
        skeleton=(("beak", "crown"), ("tail", "beak")),
        keypoint_colors=[(0, 0, 255)] * 5,
        keypoint_classes=("bird",),
    )
    content.update(changes)
    return {key: value for key, value in content.items() if value is not None}


def test_indices():
    check_keypoint_meta(meta())
    assert flip_indices(meta()) == [2, 1, 0, 3, 4]
    assert skeleton_indices(meta()) == [(1, 4), (3, 1)]
    assert keypoint_labels(meta()) == [0]
    assert keypoint_labels(meta(keypoint_classes=("nest",))) == [1]


def test_optional_keys():
    least = meta(skeleton=None, keypoint_colors=None, keypoint_classes=None)
    check_keypoint_meta(least)
    assert skeleton_indices(least) == []
    assert keypoint_labels(least) == [0, 1]
    assert flip_indices(meta(keypoint_swaps=())) == [0, 1, 2, 3, 4]


def test_coco_person(coco_mini: Path):
    """As COCO's own files and pycocotools have it."""
    file = coco_mini / "annotations" / "person_keypoints_val2017.json"
    (person,) = json.loads(file.read_text())["categories"]
    assert list(COCO_PERSON["keypoints"]) == person["keypoints"]
    assert [[a + 1, b + 1] for a, b in skeleton_indices(COCO_PERSON)] == person["skeleton"]


def test_coco_person_sigmas_and_swaps():
    check_keypoint_meta(COCO_PERSON)
    np.testing.assert_allclose(COCO_PERSON["keypoint_sigmas"], Params("keypoints").kpt_oks_sigmas)
    names = COCO_PERSON["keypoints"]
    mirrored = [
        name.replace("left", "?").replace("right", "left").replace("?", "right") for name in names
    ]
    assert [names[k] for k in flip_indices(COCO_PERSON)] == mirrored
    colors = dict(zip(names, COCO_PERSON["keypoint_colors"], strict=True))
    assert len({colors["nose"], colors["left_hip"], colors["right_hip"]}) == 3
    assert colors["left_hip"] == colors["left_eye"]


def test_shapes_figure():
    check_keypoint_meta(dict(classes=shapes.CLASSES, **shapes.KEYPOINT_META))
    assert [(a + 1, b + 1) for a, b in skeleton_indices(shapes.KEYPOINT_META)] == list(
        shapes.SKELETON
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(keypoints=None), "lacks 'keypoints': write the names"),
        (dict(keypoint_sigmas=None), "lacks 'keypoint_sigmas': write one positive number"),
        (dict(keypoint_swaps=None), r"lacks 'keypoint_swaps': .*or \(\) if there are none"),
        (dict(keypoints=()), r"metainfo\['keypoints'\] is \(\)"),
        (dict(keypoints="beak"), "is 'beak'"),
        (dict(keypoints=(1, 2, 3, 4, 5)), r"is \(1, 2, 3, 4, 5\)"),
        (
            dict(keypoints=("beak", "beak", "left_wing", "right_wing", "tail")),
            r"\['keypoints'\] names \['beak'\] more than once",
        ),
        (
            dict(keypoint_swaps=(("left_wing", "right_wing"), ("right_wing", "tail"))),
            r"\['keypoint_swaps'\] has \['right_wing'\] more than once, so two flips",
        ),
        (
            dict(keypoint_swaps=(("left_wing", "right_wing"), ("right_wing", "left_wing"))),
            r"has \['left_wing', 'right_wing'\] more than once",
        ),
        (dict(keypoint_swaps=(("beak", "beak"),)), r"has \['beak'\] more than once"),
        (dict(keypoint_swaps=("left_wing", "right_wing")), "has the entry 'left_wing': write the"),
        (dict(keypoint_swaps=((0, 2),)), r"has the entry \(0, 2\)"),
        (dict(keypoint_swaps=(("left_wing", "right_leg"),)), r"\['right_leg'\] are not in"),
        (dict(skeleton=((2, 5),)), r"entry \(2, 5\): .*not COCO's indices"),
        (dict(skeleton=(("beak", "foot"),)), r"\['skeleton'\] has .*\['foot'\] are not in"),
        (dict(skeleton=(("beak", "tail", "crown"),)), "write pairs"),
        (dict(keypoint_sigmas=(0.1, 0.1)), "has 2 entries for 5 keypoints"),
        (dict(keypoint_sigmas=(0.1, 0.1, 0, 0.1, 0.1)), "has the entry 0: write one positive"),
        (dict(keypoint_sigmas=(0.1, 0.1, float("nan"), 0.1, 0.1)), "has the entry nan"),
        (dict(keypoint_sigmas=0.1), r"\['keypoint_sigmas'\] is 0.1"),
        (dict(keypoint_colors=[(0, 0, 256)] * 5), r"has the entry \(0, 0, 256\)"),
        (dict(keypoint_colors=[(0, 0, 0)]), "has 1 entries for 5 keypoints"),
        (dict(keypoint_classes="bird"), "is 'bird': write a tuple"),
        (dict(keypoint_classes=("egg",)), r"but \['egg'\] are not in the classes"),
        (dict(keypoint_classes=()), "list the classes that have keypoints, or leave the key out"),
        (dict(keypoint_classes=("bird", "bird")), r"names \['bird'\] more than once"),
    ],
)
def test_refused(changes: dict, message: str):
    with pytest.raises(UserError, match=message):
        check_keypoint_meta(meta(**changes))
