"""The odd unreadable image is replaced and counted; everything else names its file."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import BaseDataset
from small_datasets import write_cityscapes, write_coco, write_lvis, write_voc
from torch.utils.data import DataLoader

from mmdet_maskr.datasets import ShapesDataset, unreadable
from mmdet_maskr.errors import UserError

LOAD = dict(type="LoadImageFromFile")


@TRANSFORMS.register_module()
class Fails:
    """A transform with a fault of its own."""

    def __call__(self, results: dict) -> dict:
        raise KeyError("scale")


def dataset(root: Path, *pipeline: dict, **options) -> ShapesDataset:
    return ShapesDataset(
        data_root=str(root), ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"), pipeline=[LOAD, *pipeline, dict(type="PackDetInputs")],
        **options,
    )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, shapes_root: Path) -> Path:
    return Path(shutil.copytree(shapes_root, tmp_path / "shapes"))


def spoil(root: Path, *numbers: int) -> list[str]:
    """Damage some images of the 16 (from 1; not the first, which is looked for at the start)."""
    kinds = (b"", b"<html>404</html>", None)
    paths = [root / "train" / f"{number:06d}.png" for number in numbers]
    for index, path in enumerate(paths):
        content = kinds[index % 3]
        path.unlink() if content is None else path.write_bytes(content)
    return [str(path) for path in paths]


@pytest.mark.parametrize("workers", [0, 2])
def test_replaced_and_counted(root: Path, workers: int, monkeypatch: pytest.MonkeyPatch):
    """The process and its data workers count together, and each image once."""
    paths = spoil(root, 3, 9, 14)
    data = dataset(root, max_unreadable=0.2)
    said: list[str] = []
    monkeypatch.setattr(unreadable, "print_log", lambda message, **kwargs: said.append(message))
    loader = DataLoader(data, 4, num_workers=workers, collate_fn=list)
    for _ in range(2):
        seen = [sample["data_samples"].img_path for batch in loader for sample in batch]
        assert len(seen) == 16 and not set(paths) & set(seen)
    assert data._unreadable.nonzero().flatten().tolist() == [2, 8, 13]
    if workers == 0:  # the others say it in their own processes
        # in the order in which they were met: one that is drawn in place of another may come first
        named = [
            next(path for path in paths if f"image {path} cannot be read: " in m) for m in said
        ]
        assert sorted(named) == paths
        for count, message in enumerate(said, start=1):
            assert f"Another image replaces it; {count} so far, at most 4." in message


def test_too_many(root: Path):
    paths = spoil(root, 3, 9)
    data = dataset(root)  # 0.1 % of 16 images: one
    assert data[2]["data_samples"].img_path != paths[0]
    with pytest.raises(
        UserError, match=r"000009\.png cannot be read: it cannot be decoded"
    ) as info:
        data[8]
    assert "makes 2 of 16, and max_unreadable=0.001 allows 1" in str(info.value)
    with pytest.raises(UserError, match=r"000003\.png cannot be read: it cannot be decoded"):
        dataset(root, max_unreadable=0)[2]


def test_replacements_repeat_under_a_seed(root: Path):
    spoil(root, 3)
    data = dataset(root)
    chosen = []
    for _ in range(2):
        np.random.seed(4)
        chosen.append(data[2]["data_samples"].img_path)
    assert chosen[0] == chosen[1]


def test_not_while_testing(root: Path):
    spoil(root, 3, 9, 14)
    data = dataset(root, test_mode=True, max_unreadable=1)
    with pytest.raises(UserError, match=r"000014\.png cannot be read: No such file"):
        data[13]


def test_other_faults_name_the_file(root: Path):
    with pytest.raises(UserError, match=r"000003\.png \(id 3\) or its annot.*KeyError: 'bbox'"):
        data = dataset(root, dict(type="LoadAnnotations", with_bbox=True))
        data.get_data_info = lambda idx: dict(
            BaseDataset.get_data_info(data, idx), instances=[dict(bbox_label=1)]
        )
        data[2]


@pytest.mark.parametrize(
    ("pipeline", "named"),
    [
        ([dict(type="Fails")], r"transform 1 \(Fails\)"),
        ([dict(type="Resize", scale=(9, 9)), dict(type="Fails")], r"transform 2 \(Fails\)"),
        (
            [dict(type="RandomApply", prob=1.0, transforms=[dict(type="Fails")])],
            r"transform 1 \(RandomApply\), transform 0 \(Fails\)",
        ),
    ],
)
def test_faults_of_transforms_name_them(root: Path, pipeline: list[dict], named: str):
    """And not the data: the image can be read, and so can its annotations."""
    with pytest.raises(
        UserError, match=rf"^{named} of the pipeline failed on .*000003\.png"
    ) as info:
        dataset(root, *pipeline)[2]
    assert "check_dataset" not in str(info.value) and "KeyError: 'scale'" in str(info.value)


@pytest.mark.parametrize("test_mode", [False, True])
def test_a_transform_that_leaves_nothing(root: Path, test_mode: bool):
    loading = dict(type="LoadAnnotations", with_bbox=True)
    filtering = dict(type="FilterAnnotations", min_gt_bbox_wh=(900, 900), keep_empty=True)
    data = dataset(root, loading, filtering, max_refetch=3, test_mode=test_mode)
    with pytest.raises(
        UserError, match=r"returns nothing for .* transform 2 \(FilterAnnotations\)"
    ):
        data[2]


def test_wrong_size_names_the_file(root: Path):
    data = dataset(root)
    data[2]
    cv2.imwrite(str(root / "train" / "000003.png"), np.zeros((96, 64, 3), np.uint8))
    with pytest.raises(UserError, match=r"000003\.png \(id 3\) has 64 x 96 .* but 96 x 96"):
        data[2]


def test_wrong_option(root: Path):
    with pytest.raises(UserError, match=r"max_unreadable must be from 0 to 1, not 2"):
        dataset(root, max_unreadable=2)


COCO = dict(data_root="{root}", ann_file="annotations/instances_train2017.json",
            data_prefix=dict(img="train2017/"))  # fmt: skip
KINDS = {
    "CocoInstanceDataset": (write_coco, COCO),
    "CocoKeypointDataset": (
        write_coco,
        dict(COCO, ann_file="annotations/person_keypoints_train2017.json"),
    ),
    "CocoJointDataset": (
        write_coco,
        dict(COCO, keypoint_ann_file="annotations/person_keypoints_train2017.json"),
    ),
    "CityscapesInstanceDataset": (
        write_cityscapes,
        dict(data_root="{root}", data_prefix=dict(img="leftImg8bit/train/"),
             ann_file="annotations/instancesonly_filtered_gtFine_train.json"),
    ),
    "LVISInstanceDataset": (
        write_lvis,
        dict(data_root="{root}", ann_file="annotations/lvis_v1_train.json",
             data_prefix=dict(img="")),
    ),
    "VOCBoxDataset": (
        write_voc,
        dict(data_root="{root}", ann_file="VOC2007/ImageSets/Main/trainval.txt",
             data_prefix=dict(sub_data_root="VOC2007/")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_data_set_survives(kind: str, tmp_path: Path, root: Path):
    if kind == "LVISInstanceDataset":
        pytest.importorskip("lvis", reason="LVIS needs the package lvis")
    write, options = KINDS[kind]
    written = write(tmp_path / "written", root)
    options = {**options, "data_root": str(written)}
    load = "LoadKeypointAnnotations" if "keypoint" in str(options) else "LoadAnnotations"
    pack = "PackKeypointInputs" if "keypoint" in str(options) else "PackDetInputs"
    pipeline = [LOAD, dict(type=load, with_bbox=True), dict(type=pack)]
    data = DATASETS.build(dict(type=kind, pipeline=pipeline, max_unreadable=0.1, **options))
    lost = [Path(data.get_data_info(i)["img_path"]) for i in (2, 5)]
    lost[0].resolve().write_bytes(b"<html>404</html>")
    lost[1].resolve().unlink()
    seen = {data[i]["data_samples"].img_path for i in range(len(data))}
    assert len(seen) == len(data) - 2 and not {str(path) for path in lost} & seen
    data.max_unreadable = 0
    data._unreadable[:] = False
    with pytest.raises(UserError, match=f"image {lost[0]} cannot be read: it cannot be decoded"):
        data[2]


def test_voc_sizes_are_those_of_the_files(tmp_path: Path, root: Path):
    """One XML file of VOC 2012 names width and height in the other order; nothing uses them."""
    written = write_voc(tmp_path / "voc", root)
    path = written / "VOC2007/JPEGImages/train000003.jpg"
    cv2.imwrite(str(path), np.zeros((64, 96, 3), np.uint8))
    options = {**KINDS["VOCBoxDataset"][1], "data_root": str(written)}
    data = DATASETS.build(
        dict(type="VOCBoxDataset", pipeline=[LOAD, dict(type="PackDetInputs")], **options)
    )
    assert data[2]["data_samples"].ori_shape == (64, 96)
