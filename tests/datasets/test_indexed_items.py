"""Datasets that make images of the index give what loading all at once does."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmdet.datasets import ConcatDataset, LVISV1Dataset
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from small_datasets import write_lvis
from torch.utils.data import DataLoader

from mmdet_maskr.coco.check.trainable import Tally
from mmdet_maskr.coco.index import open_index, usage_of
from mmdet_maskr.datasets import CocoInstanceDataset
from mmdet_maskr.datasets.cityscapes import CityscapesInstanceDataset
from mmdet_maskr.datasets.indexed_items import IndexedItems
from mmdet_maskr.datasets.lvis import LVISInstanceDataset
from mmdet_maskr.errors import UserError

CLASSES = ("a", "b", "c")


class AllAtOnce(CocoInstanceDataset):
    """Reads as before."""

    READS_INDEX = False


class CityscapesAtOnce(CityscapesInstanceDataset):
    """Reads as before."""

    READS_INDEX = False


def first(batch: list) -> Any:
    return batch[0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of which many are left out, for all reasons, and images of several sizes."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("indexed")
    (folder / "images").mkdir()
    (folder / "images" / "0.jpg").touch()
    images = [
        dict(id=5 * i, file_name=f"{i}.jpg", width=80 + 10 * (i % 3), height=60) for i in range(40)
    ]
    annotations = []
    for number in range(300):
        x, y, w, h = random.uniform(0, 50, 4).round(2).tolist()
        points = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotation = dict(
            id=number + 1,
            image_id=int(random.integers(0, 33)) * 5,
            category_id=int(random.choice([3, 4, 7, 9])),
            bbox=[x, y, w, h],
            area=w * h,
            iscrowd=int(random.random() < 0.1),
            segmentation=[points],
        )
        change = number % 30
        if change == 0:
            annotation["area"] = 0
        elif change == 1:
            annotation["ignore"] = 1
        elif change == 2:
            annotation["bbox"] = [200.0, 5.0, 10.0, 10.0]
        elif change == 3:
            annotation["segmentation"] = [points[:4]]
        elif change == 4:
            annotation.pop("segmentation")
        elif change == 5:
            annotation.update(iscrowd=1, segmentation=dict(size=[60, 80], counts=[100, 20, 4680]))
            annotation["image_id"] = 0
        elif change == 6:
            annotation["bbox"] = [x, y, 0.5, h]
        annotations.append(annotation)
    categories = [dict(id=i, name=name) for i, name in ((3, "a"), (9, "b"), (4, "c"), (7, "d"))]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / "all.json").write_text(json.dumps(content))
    return folder


def build(kind: type, root: Path, **options: Any) -> Any:
    options = dict(
        dict(
            data_root=str(root),
            ann_file="all.json",
            data_prefix=dict(img="images"),
            metainfo=dict(classes=CLASSES),
            pipeline=[],
            max_box_mismatch=1,
        ),
        **options,
    )
    return kind(**options)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "filtered": dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)),
    "large": dict(filter_cfg=dict(min_size=60.5)),
    "one class": dict(metainfo=dict(classes=("b",)), filter_cfg=dict(filter_empty_gt=True)),
    "test": dict(test_mode=True, filter_cfg=dict(filter_empty_gt=True)),
    "first": dict(indices=7),
    "last": dict(indices=-7),
    "chosen": dict(indices=[3, 1, 30, 1]),
    "not serialized": dict(serialize_data=False),
}


@pytest.mark.parametrize("name", ["plain", "filtered", "one class", "test", "first"])
def test_cityscapes_leaves_out_images_of_crowds_alone(root: Path, name: str) -> None:
    content = json.loads((root / "all.json").read_text())
    for annotation in content["annotations"]:
        if annotation["image_id"] % 3 == 0:
            annotation["iscrowd"] = 1
    (root / "crowds.json").write_text(json.dumps(content))
    options = dict(OPTIONS[name], ann_file="crowds.json", crowds="keep")
    ours, others = (
        build(kind, root, **options) for kind in (CityscapesInstanceDataset, CityscapesAtOnce)
    )
    assert isinstance(ours.data_list, IndexedItems) and len(ours) == len(others) > 3
    ids = [ours.get_data_info(i)["img_id"] for i in range(len(ours))]
    assert ids == [others.get_data_info(i)["img_id"] for i in range(len(others))]
    if name == "filtered":
        assert len(ours) < len(build(CocoInstanceDataset, root, **options))


@pytest.mark.parametrize("options", [{}, dict(filter_empty_gt=True, min_size=32)])
def test_lvis_as_by_its_package(tmp_path: Path, shapes_root: Path, options: dict) -> None:
    pytest.importorskip("lvis", reason="the comparison is with the package lvis")
    lvis = write_lvis(tmp_path / "lvis", shapes_root)
    file = lvis / "annotations/lvis_v1_train.json"
    content = json.loads(file.read_text())
    content["images"].append(dict(content["images"][0], id=99999))  # an empty one
    file.write_text(json.dumps(content))
    config = dict(data_root=str(lvis), ann_file=str(file), data_prefix=dict(img=""), pipeline=[])
    ours, stock = (
        kind(**config, filter_cfg=options) for kind in (LVISInstanceDataset, LVISV1Dataset)
    )
    assert isinstance(ours.data_list, IndexedItems)
    assert len(ours) == len(stock) == len(content["images"]) - bool(options)
    assert ours.cat_ids == stock.cat_ids
    for i in range(len(ours)):
        assert ours.get_data_info(i) == stock.get_data_info(i)
        assert ours.get_cat_ids(i) == stock.get_cat_ids(i)
    with pytest.raises(UserError, match="file_name"):  # COCO's dataset needs names
        CocoInstanceDataset(**config)


@pytest.mark.parametrize("name", [n for n in OPTIONS if n != "large"])
def test_the_same_images(root: Path, name: str) -> None:
    ours, others = (build(kind, root, **OPTIONS[name]) for kind in (CocoInstanceDataset, AllAtOnce))
    assert isinstance(ours.data_list, IndexedItems) and not isinstance(
        others.data_list, IndexedItems
    )
    assert len(ours) == len(others) > 0
    for place in (*range(len(ours)), -1):
        assert ours.get_data_info(place) == others.get_data_info(place)
        assert ours.get_cat_ids(place) == others.get_cat_ids(place)


def test_subsets(root: Path) -> None:
    ours, others = (build(kind, root) for kind in (CocoInstanceDataset, AllAtOnce))
    for chosen in (4, -4, [2, 9]):
        ids = [ours.get_subset(chosen).get_data_info(i)["img_id"] for i in range(2)]
        assert ids == [others.get_subset(chosen).get_data_info(i)["img_id"] for i in range(2)]
    ours.get_subset_([7, 8])
    assert [ours.get_data_info(i)["img_id"] for i in range(2)] == [35, 40]


def test_wrappers(root: Path) -> None:
    def wrapped(kind: type) -> Any:
        options = dict(filter_cfg=dict(filter_empty_gt=True))
        return ClassBalancedDataset(build(kind, root, **options), oversample_thr=0.9)

    ours, others = wrapped(CocoInstanceDataset), wrapped(AllAtOnce)
    assert ours.repeat_indices == others.repeat_indices
    assert RepeatDataset(build(CocoInstanceDataset, root), 2).get_data_info(41)["img_id"] == 5
    joined = ConcatDataset([build(CocoInstanceDataset, root), build(CocoInstanceDataset, root)])
    assert joined.get_data_info(41)["img_id"] == 5


def test_an_image_is_its_callers_own(root: Path) -> None:
    dataset = build(CocoInstanceDataset, root)
    before = dataset.get_data_info(0)
    changed = dataset.get_data_info(0)
    changed["instances"].clear()
    changed["height"] = 0
    assert dataset.get_data_info(0) == before


def test_other_processes(root: Path) -> None:
    dataset = build(CocoInstanceDataset, root)
    sent = pickle.dumps(dataset)
    assert len(sent) < 40_000  # the annotations are not in it
    assert pickle.loads(sent).get_data_info(3) == dataset.get_data_info(3)
    loader = DataLoader(dataset, num_workers=1, collate_fn=first, multiprocessing_context="fork")
    assert [item["img_id"] for item in loader] == list(range(0, 200, 5))


class OwnFields(CocoInstanceDataset):
    """Parses a field of its own."""

    def parse_data_info(self, raw_data_info: dict) -> dict:
        parsed = super().parse_data_info(raw_data_info)
        parsed["instances"] = [
            dict(bbox_label=1, ids=a["id"]) for a in raw_data_info["raw_ann_info"]
        ]
        return parsed


def test_subclasses_parse_as_they_like(root: Path) -> None:
    dataset = build(OwnFields, root)
    own = dataset.get_data_info(0)["instances"]
    assert own and all("ids" in instance for instance in own)
    assert dataset.get_cat_ids(0) == [1] * len(own)


@pytest.mark.parametrize("polygons_only", [False, True])
@pytest.mark.parametrize("wanted", [[3, 9, 4, 7], [9], []])
def test_annotations_are_counted_as_one_by_one(
    root: Path, wanted: list[int], polygons_only: bool
) -> None:
    content = json.loads((root / "all.json").read_text())
    images = {image["id"]: image for image in content["images"]}
    expected = Tally([3, 9, 4, 7], wanted, polygons_only)
    for annotation in content["annotations"]:
        expected.add(annotation, images.get(annotation["image_id"]))
    index = open_index(root / "all.json")
    tally, _, used_rows = usage_of(index, wanted, polygons_only)
    used = {image["id"] for image, use in zip(content["images"], used_rows, strict=True) if use}
    assert used == expected.used_images
    for name in ("total", "used", "compared", "mismatches", "is_much", "all_fractions"):
        assert getattr(tally, name) == getattr(expected, name), name
    assert list(tally.reasons.items()) == list(expected.reasons.items())
    assert tally.shift() == expected.shift() and tally.cause() == expected.cause()
