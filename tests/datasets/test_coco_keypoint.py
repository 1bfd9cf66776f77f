"""Keypoints stay with their instances, in one file or joined from two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from keypoint_cases import NAMES, annotation, build, coco, instances, write
from mmdet.registry import DATASETS
from pycocotools.coco import COCO

from mmdet_maskr.coco.keypoint_meta import COCO_PERSON, flip_indices
from mmdet_maskr.datasets import shapes
from mmdet_maskr.datasets.transforms.loading import BOX_ONLY
from mmdet_maskr.errors import UserError


# --------------------------------------------------------------------------------------- reading
def test_reads_three_keypoints(tmp_path: Path):
    write(tmp_path, coco())
    dataset = build(tmp_path)
    info = dataset.get_data_info(0)
    (instance,) = info["instances"]
    assert instance["keypoints"].dtype == np.float32
    assert instance["keypoints"].tolist() == [[11, 5, 2], [12.5, 6, 1], [0, 0, 0]]
    assert instance["num_keypoints"] == 2
    assert info["keypoint_flip_indices"] == [2, 1, 0]
    assert dataset.get_data_info(2)["instances"] == []
    assert dataset.get_data_info(2)["keypoint_flip_indices"] == [2, 1, 0]


def test_keypoints_stay_with_their_instance(tmp_path: Path):
    """What mmdet leaves out before; instances of equal boxes, without masks or keypoints."""
    same = dict(bbox=[1, 2, 10, 8], segmentation=None)
    left_out = [
        annotation(20, ignore=True, **same),
        annotation(21, area=0),
        annotation(22, bbox=[90, 2, 10, 8]),  # outside of the image
        annotation(23, bbox=[1, 2, 0.5, 8]),
        annotation(24, category_id=2),
    ]
    kept = [
        annotation(30, **same),
        annotation(31, iscrowd=1, keypoints=[0] * 9, num_keypoints=0),
        annotation(32, keypoints=None, num_keypoints=None, segmentation=[]),
        annotation(33, segmentation=dict(size=[60, 80], counts=[4800])),
    ]
    order = [left_out[0], kept[0], *left_out[1:3], kept[1], kept[2], *left_out[3:], kept[3]]
    write(tmp_path, coco(*order))
    found = instances(build(tmp_path))
    assert [i["keypoints"][0, 0] for i in found] == [30, 0, 0, 33]
    assert [i["num_keypoints"] for i in found] == [2, 0, 0, 2]
    assert [i["ignore_flag"] for i in found] == [0, 1, 0, 0]
    outlines = []  # of objects that have a box only
    for x, y, w, h in (kept[0]["bbox"], kept[2]["bbox"]):
        outlines.append([[x, y, x + w, y, x + w, y + h, x, y + h]])
    assert [(i["mask"], i.get(BOX_ONLY, False)) for i in found] == [
        (outlines[0], True),
        (kept[1]["segmentation"], False),
        (outlines[1], True),
        (kept[3]["segmentation"], False),
    ]


def test_other_classes_have_no_keypoints(tmp_path: Path):
    """Neither are theirs checked: a class may have another number of keypoints."""
    nest = annotation(13, category_id=2, keypoints=[1, 1, 2], num_keypoints=1)
    write(tmp_path, coco(annotation(11), nest))
    meta = dict(classes=("bird", "nest"), keypoint_classes=("bird",))
    bird, other = instances(build(tmp_path, meta))
    assert bird["num_keypoints"] == 2
    assert other["bbox_label"] == 1
    assert other["num_keypoints"] == 0 and not other["keypoints"].any()
    assert other["keypoints"].shape == (3, 3)
    with pytest.raises(UserError, match=r"annotation 13 of .* has 3 entries as keypoints"):
        build(tmp_path, dict(classes=("bird", "nest")))


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_persons(coco_mini: Path, split: str):
    """Against pycocotools' own reading."""
    ann_file = f"annotations/person_keypoints_{split}2017.json"
    dataset = DATASETS.build(
        dict(
            type="CocoKeypointDataset",
            data_root=str(coco_mini),
            ann_file=ann_file,
            data_prefix=dict(img=f"{split}2017"),
            pipeline=[],
        )
    )
    truth = COCO(coco_mini / ann_file)
    compared = 0
    for k in range(len(dataset)):
        info = dataset.get_data_info(k)
        own = truth.imgToAnns[info["img_id"]]
        assert len(info["instances"]) == len(own)
        for instance, expected in zip(info["instances"], own, strict=True):
            assert instance["mask"] == expected["segmentation"]
            assert instance["keypoints"].reshape(-1).tolist() == expected["keypoints"]
            assert instance["num_keypoints"] == expected["num_keypoints"]
            compared += 1
        assert info["keypoint_flip_indices"] == flip_indices(COCO_PERSON)
    assert compared == len(truth.anns) > 100


def test_shapes(shapes_root: Path):
    ann_file = "annotations/instances_train.json"
    dataset = DATASETS.build(
        dict(
            type="ShapesDataset",
            data_root=str(shapes_root),
            ann_file=ann_file,
            data_prefix=dict(img="train"),
            pipeline=[],
        )
    )
    truth = COCO(shapes_root / ann_file)
    expected = [a.get("keypoints", [0] * 27) for i in truth.getImgIds() for a in truth.imgToAnns[i]]
    found = [i["keypoints"].reshape(-1) for i in instances(dataset)]
    np.testing.assert_array_equal(found, np.float32(expected))
    assert np.any(found)
    assert dataset.metainfo["keypoints"] == shapes.KEYPOINTS


# --------------------------------------------------------------------------------- the joint form
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_joint(coco_mini: Path, split: str):
    """80 classes from one file, and each person's keypoints by annotation id from the other."""
    dataset = DATASETS.build(
        dict(
            type="CocoJointDataset",
            data_root=str(coco_mini),
            ann_file=f"annotations/instances_{split}2017.json",
            keypoint_ann_file=f"annotations/person_keypoints_{split}2017.json",
            data_prefix=dict(img=f"{split}2017"),
            pipeline=[],
        )
    )
    instance_truth = COCO(coco_mini / f"annotations/instances_{split}2017.json")
    person_truth = COCO(coco_mini / f"annotations/person_keypoints_{split}2017.json")
    assert len(dataset.metainfo["classes"]) == 80
    persons = 0
    for k in range(len(dataset)):
        info = dataset.get_data_info(k)
        own = instance_truth.imgToAnns[info["img_id"]]
        for instance, expected in zip(info["instances"], own, strict=True):
            assert instance["mask"] == expected["segmentation"]
            person = person_truth.anns.get(expected["id"], dict(keypoints=[0] * 51))
            assert (expected["id"] in person_truth.anns) == (instance["bbox_label"] == 0)
            assert instance["keypoints"].reshape(-1).tolist() == person["keypoints"]
            persons += instance["num_keypoints"] > 0
    assert persons == sum(a["num_keypoints"] > 0 for a in person_truth.anns.values()) > 30


def joint(root: Path, change: Callable[[dict, dict], object] | None = None):
    """Instances 11 and 12 with birds and 13, a nest; the birds' keypoints in another file."""
    bare = dict(keypoints=None, num_keypoints=None)
    content = coco(
        annotation(11, **bare), annotation(12, 2, **bare), annotation(13, category_id=2, **bare)
    )
    keypoints = coco(annotation(12, 2), annotation(11))
    keypoints["categories"] = [dict(id=4, name="bird", keypoints=list(NAMES))]
    if change is not None:
        change(content, keypoints)
    write(root, content)
    write(root, keypoints, "keypoints.json")
    meta = dict(classes=("bird", "nest"), keypoint_classes=("bird",))
    return build(root, meta, type="CocoJointDataset", keypoint_ann_file="keypoints.json")


def test_joined_by_id(tmp_path: Path):
    found = instances(joint(tmp_path))
    assert [i["keypoints"][0, 0] for i in found] == [11, 0, 12]
    absolute = build(tmp_path, keypoint_ann_file=str(tmp_path / "keypoints.json"))
    assert [i["keypoints"][0, 0] for i in instances(absolute)] == [11, 12]


def test_categories_are_compared_by_name(tmp_path: Path):
    def change(_: dict, keypoints: dict) -> None:
        keypoints["categories"][0]["id"] = 9
        for a in keypoints["annotations"]:
            a["category_id"] = 9

    assert [i["num_keypoints"] for i in instances(joint(tmp_path, change))] == [2, 0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda _, k: k["annotations"].append(annotation(99)),
            r"1 of the 3 annotations of .*keypoints\.json are not in .*ann\.json, .* ids \[99\]",
        ),
        (
            lambda _, k: k["annotations"][1].update(image_id=3),
            r"annotation 11 is a 'bird' in image 1 by .*ann\.json, but a 'bird' in image 3 by .*k",
        ),
        (
            lambda c, _: c["annotations"][0].update(category_id=2),
            r"annotation 11 is a 'nest' in image 1 by .*, but a 'bird' in image 1",
        ),
        (
            lambda _, k: k["annotations"].append(annotation(11)),
            r"keypoints\.json: annotations\[2\] \(id 11\) has the id of another",
        ),
        (
            lambda c, _: c["annotations"].append(annotation(14)),
            r"annotation 14 of .*ann\.json has keypoints already: leave keypoint_ann_file=",
        ),
        (
            lambda _, k: k["annotations"][0].update(keypoints=[1, 2, 3] * 3),
            r"annotation 12 of .*keypoints\.json has keypoint visibilities \[3\]",
        ),
        (
            lambda _, k: k["categories"][0].update(keypoints=["beak"]),
            r"'bird' of .*keypoints\.json has 1 keypoints and metainfo\['keypoints'\] 3",
        ),
        (lambda _, k: k.pop("annotations"), r"keypoints\.json lacks \['annotations'\]"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, change: Callable, message: str):
    with pytest.raises(UserError, match=message):
        joint(tmp_path, change)


def test_joint_needs_both_files(tmp_path: Path):
    write(tmp_path, coco())
    with pytest.raises(UserError, match="CocoJointDataset needs keypoint_ann_file, the file with"):
        build(tmp_path, type="CocoJointDataset")
    with pytest.raises(UserError, match=r"no annotation file .*none\.json: .*'s keypoint_ann_file"):
        build(tmp_path, keypoint_ann_file="none.json")


def test_instances_file_alone(coco_mini: Path):
    with pytest.raises(UserError, match=r"none of the 118 annotations of 'person' .* keypoints"):
        DATASETS.build(
            dict(
                type="CocoKeypointDataset",
                data_root=str(coco_mini),
                ann_file="annotations/instances_val2017.json",
                data_prefix=dict(img="val2017"),
                pipeline=[],
            )
        )
