"""Wrong keypoints in annotation files are refused by name; images with few are left out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from keypoint_cases import NAMES, annotation, build, coco, instances, write
from mmdet.registry import DATASETS

from mmdet_maskr.datasets import coco_keypoint
from mmdet_maskr.errors import UserError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(keypoints=[1, 1, 2] * 2), r"has 6 entries as keypoints, not 3 x 3 numbers"),
        (dict(keypoints=[1, 1] * 3), r"has 6 entries as keypoints, not 3 x 3"),
        (dict(keypoints=[]), r"has 0 entries as keypoints"),
        (dict(keypoints="none"), r"has 'none' as keypoints"),
        (dict(keypoints=[[1, 1, 2]] * 9), r"no plain list of numbers: \[\[1, 1, 2\]"),
        (dict(keypoints=[1, 1, 2, [3], 1, 1, 1, 1, 1]), r"no plain list of numbers"),
        (dict(keypoints=["1", 1, 2] * 3), r"no plain list of numbers: \['1', 1"),
        (dict(keypoints=[None, 1, 2] * 3), r"no plain list of numbers: \[None"),
        (dict(keypoints=[1, float("nan"), 2] * 3), r"has NaN or infinite numbers"),
        (dict(keypoints=[float("inf"), 1, 2] * 3), r"has NaN or infinite numbers"),
        (dict(keypoints=[1e300, 1, 2] * 3), r"has NaN or infinite numbers"),
        (dict(keypoints=[1, 1, 3, 1, 1, 2, 1, 1, -1]), r"visibilities \[-1, 2, 3\]: 0 "),
        (dict(keypoints=[1, 1, 0.5] * 3), r"visibilities \[0.5\]"),
        (dict(num_keypoints=3), r"has num_keypoints 3, but 2 keypoints with v > 0"),
        (dict(num_keypoints=1), r"has num_keypoints 1, but 2 keypoints"),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_wrong_keypoints(tmp_path: Path, changes: dict, message: str, train: bool):
    wrong = [annotation(57, 2, **changes), annotation(58, 2, **changes)]
    write(tmp_path, coco(annotation(11), *wrong))
    with pytest.raises(UserError) as error:
        build(tmp_path, test_mode=not train)
    text = str(error.value)
    assert text.startswith(f"annotation 57 of {tmp_path / 'ann.json'} has ")
    assert text.endswith(" So have 1 more annotations.")
    assert re.search(message, text)


def test_right_keypoints_of_every_kind(tmp_path: Path):
    """Whole floats, huge and negative coordinates, and no num_keypoints are all fine."""
    odd = annotation(57, keypoints=[-5.5, 10**25, 2.0, 1, 1, 1.0, 3, 4, 0], num_keypoints=None)
    write(tmp_path, coco(odd))
    (instance,) = instances(build(tmp_path))
    assert instance["num_keypoints"] == 2
    np.testing.assert_array_equal(instance["keypoints"][0], np.float32([-5.5, 1e25, 2]))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["beak", "left_wing", "right_wing"], r"has the keypoints of .* in another order: \('beak"),
        (["left_wing", "beak"], r"'bird' of .*ann\.json has 2 keypoints and metainfo.* 3: \('left"),
        (["left_wing", "bill", "right_wing"], r"has other keypoints than metainfo\['keypoints'\]"),
    ],
)
def test_names_of_the_file(tmp_path: Path, names: list[str], message: str):
    content = coco()
    content["categories"][0]["keypoints"] = names
    write(tmp_path, content)
    with pytest.raises(UserError, match=message):
        build(tmp_path)


def test_class_without_keypoints(tmp_path: Path):
    """A class whose annotations have none must not count as one with keypoints."""
    bare = annotation(13, category_id=2, keypoints=None, num_keypoints=None)
    content = coco(annotation(11), bare)
    write(tmp_path, content)
    meta = dict(classes=("bird", "nest"))
    with pytest.raises(UserError, match=r"none of the 1 annotations of 'nest' in .*leave it out"):
        build(tmp_path, meta)
    content["categories"][1]["keypoints"] = list(NAMES)  # it has some, not labeled here
    write(tmp_path, content)
    assert [i["num_keypoints"] for i in instances(build(tmp_path, meta))] == [2, 0]


def test_a_file_without_annotations(tmp_path: Path):
    content = coco()
    content["annotations"] = []
    write(tmp_path, content)
    assert len(build(tmp_path, test_mode=True)) == 3


def test_names_of_others_bring_no_sigmas(tmp_path: Path):
    """17 own keypoints are not scored by the sigmas of COCO's."""
    own = dict(keypoints=tuple(f"point_{k}" for k in range(17)), keypoint_swaps=())
    with pytest.raises(UserError, match="lacks 'keypoint_sigmas'"):
        DATASETS.build(dict(type="CocoKeypointDataset", metainfo=own, lazy_init=True))
    dataset = DATASETS.build(
        dict(
            type="CocoKeypointDataset",
            metainfo=dict(own, keypoint_sigmas=(0.1,) * 17),
            lazy_init=True,
        )
    )
    assert "skeleton" not in dataset.metainfo and "keypoint_colors" not in dataset.metainfo


def test_swaps_that_are_no_involution(tmp_path: Path):
    write(tmp_path, coco())
    with pytest.raises(UserError, match="two flips"):
        build(tmp_path, dict(keypoint_swaps=(NAMES[:2], NAMES[1:])))


def test_pipeline_that_leaves_keypoints_behind(tmp_path: Path):
    write(tmp_path, coco())
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadKeypointAnnotations"),
        dict(type="RandomFlip", prob=0.5),
    ]
    with pytest.raises(UserError, match="KeypointRandomFlip"):
        build(tmp_path, pipeline=pipeline)


# -------------------------------------------------------------------------------------- filtering
def test_fewest_visible_keypoints(tmp_path: Path):
    """Image 1 has 4, image 2 has 2 and 2 more in a crowd, image 3 none."""
    write(
        tmp_path,
        coco(annotation(11), annotation(12), annotation(13, 2), annotation(14, 2, iscrowd=1)),
    )

    def images(least: int, **options: object) -> list[int]:
        dataset = build(tmp_path, filter_cfg=dict(min_visible_keypoints=least), **options)
        return [dataset.get_data_info(k)["img_id"] for k in range(len(dataset))]

    assert images(0) == [1, 2, 3]
    assert images(1) == images(2) == [1, 2]
    assert images(3) == images(4) == [1]
    assert images(3, test_mode=True) == [1, 2, 3]
    with pytest.raises(UserError, match=r"min_visible_keypoints=5\) leaves none of the 3 images"):
        images(5)


def test_filter_goes_with_the_other_options(tmp_path: Path):
    write(tmp_path, coco())
    both = dict(filter_empty_gt=True, min_size=61, min_visible_keypoints=1)
    with pytest.raises(UserError, match="leaves none of the 3 images"):
        build(tmp_path, filter_cfg=both)
    assert len(build(tmp_path, filter_cfg={**both, "min_size": 60})) == 2


@pytest.mark.parametrize(
    ("filter_cfg", "message"),
    [
        (dict(min_keypoints=1), r"filter_cfg has 'min_keypoints'; .*'min_visible_keypoints'"),
        (dict(min_visible_keypoints="1"), r"min_visible_keypoints='1', which must be a number"),
        (dict(min_visible_keypoints=-1), r"min_visible_keypoints=-1"),
    ],
)
def test_wrong_filter(tmp_path: Path, filter_cfg: dict, message: str):
    write(tmp_path, coco())
    with pytest.raises(UserError, match=message):
        build(tmp_path, filter_cfg=filter_cfg)


def test_what_is_not_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = []
    monkeypatch.setattr(coco_keypoint, "print_log", lambda text, **_: said.append(text))
    bare = annotation(12, keypoints=None, num_keypoints=None)
    write(tmp_path, coco(annotation(11), bare, annotation(13, category_id=2)))
    build(tmp_path)
    (text,) = said
    assert "1 of 2 annotations have none; those of 1 annotations of other classes" in text
