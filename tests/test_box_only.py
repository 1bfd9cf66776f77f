"""Objects with a box and no mask train boxes, and are no part of the masks' loss and score."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_maskr.engine.model_checks import check_box_only
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import CocoInstanceMetric
from mmdet_maskr.ops.mask_rle import RLEMasks
from mmdet_maskr.structures import GeometryMasks
from mmdet_maskr.structures.shapes import Polygons
from mmdet_maskr.structures.targets import known_of

SIZE = 96
TRIANGLE, BOX = [[8.0, 8.0, 60.0, 8.0, 8.0, 50.0]], [40.0, 30.0, 50.0, 60.0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A triangle with a mask, and two objects without, by an empty list and by no entry."""
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), np.zeros((SIZE, SIZE, 3), np.uint8))
    annotations = [
        dict(id=1, category_id=1, bbox=[8, 8, 52, 42], area=1092, segmentation=TRIANGLE),
        dict(id=2, category_id=1, bbox=BOX, area=3000, segmentation=[]),
        dict(id=3, category_id=1, bbox=[2, 70, 9, 9], area=81),
    ]
    content = dict(
        images=[dict(id=1, file_name="a.png", height=SIZE, width=SIZE)],
        annotations=[dict(a, image_id=1, iscrowd=0) for a in annotations],
        categories=[dict(id=1, name="stone")],
    )
    path = tmp_path / "ann.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def build(file: Path, loading: dict):
    return DATASETS.build(
        dict(
            type="CocoInstanceDataset",
            data_root=str(file.parent),
            ann_file=file.name,
            data_prefix=dict(img="images"),
            metainfo=dict(classes=("stone",)),
            pipeline=[dict(type="LoadImageFromFile"), loading],
        )
    )


OURS = dict(type="LoadInstanceAnnotations", with_bbox=True, with_mask=True)


def test_their_box_stands_for_the_mask_and_is_marked(file: Path):
    dataset = build(file, OURS)
    loaded = dataset[0]
    masks = loaded["gt_masks"]
    assert dataset.box_only == 2
    assert masks.known.tolist() == [True, False, False]
    assert not loaded["gt_ignore_flags"].any()
    assert masks.get_bboxes().tensor[1].tolist() == [40, 30, 90, 90]
    cut = masks.resize((48, 48)).crop(np.array([0, 0, 30, 30])).flip()
    assert cut[[1, 0]].known.tolist() == [False, True]
    kept = GeometryMasks.of_state(masks.state(), SIZE, SIZE)
    assert kept.known.tolist() == [True, False, False]


def test_pixels_that_a_caller_changes_are_known(file: Path):
    masks = build(file, OURS)[0]["gt_masks"]
    masks.masks[1, 50:60] = 0
    assert masks.known.tolist() == [True, True, False]


@pytest.mark.parametrize(
    "loading",
    [
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
        dict(type="LoadInstanceAnnotations", with_bbox=True, with_mask=True, poly2mask=True),
    ],
)
def test_mmdets_masks_are_refused(file: Path, loading: dict):
    with pytest.raises(UserError, match=r"2 of 3 objects have a box and no mask.*LoadInstance"):
        build(file, loading)
    build(file, dict(loading, with_mask=False))


@pytest.fixture(scope="module")
def config(repo: Path) -> Config:
    return Config.fromfile(repo / "configs/_base_/models/maskr_mini_fpn.py").model


def losses(config: Config, known: bool, others: int = 1) -> dict[str, float]:
    """Of a model on the triangle and, ``others`` times, the box."""
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(config))
    model.init_weights()
    data = DetDataSample(
        metainfo=dict(
            img_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE), batch_input_shape=(SIZE, SIZE),
            ori_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0),
        )
    )  # fmt: skip
    outline = [[40.0, 30.0, 90.0, 30.0, 90.0, 90.0, 40.0, 90.0]]
    shapes = [TRIANGLE] + [Polygons.of(outline, known=known)] * others
    boxes = [[8.0, 8, 60, 50]] + [[40.0, 30, 90, 90]] * others
    data.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=GeometryMasks(shapes, SIZE, SIZE),
    )
    data.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    torch.manual_seed(1)
    found = model.loss(torch.randn(1, 3, SIZE, SIZE), [data])
    sum(sum(v) if isinstance(v, list) else v for k, v in found.items() if "loss" in k).backward()
    assert all(p.grad is not None for p in model.roi_head.mask_head.parameters())
    return {k: float((sum(v) if isinstance(v, list) else v).detach()) for k, v in found.items()}


def test_they_are_left_out_of_the_mask_loss_alone(config: Config):
    with_masks, without = losses(config, True), losses(config, False)
    assert with_masks["loss_mask"] != without["loss_mask"] > 0
    for name in ("loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"):
        assert with_masks[name] == without[name]


def test_which_rois_have_known_masks():
    shape = Polygons.of([[8.0, 8, 60, 8, 60, 50, 8, 50]], known=False)
    masks = [GeometryMasks([shape], SIZE, SIZE), GeometryMasks([TRIANGLE], SIZE, SIZE)]
    indices = [torch.tensor([0, 0]), torch.tensor([0])]
    assert known_of(indices, masks).tolist() == [False, False, True]
    assert known_of(indices[1:], masks[1:]) is None


def test_other_mask_heads_are_refused(config: Config):
    cfg = copy.deepcopy(config)
    cfg.roi_head.update(type="StandardRoIHead")
    cfg.roi_head.mask_head.update(type="FCNMaskHead")
    with pytest.raises(UserError, match=r"3 objects of train_dataloader .*\.mask_head would train"):
        check_box_only(MODELS.build(cfg), 3, "train")
    check_box_only(MODELS.build(cfg), 0, "train")
    check_box_only(MODELS.build(copy.deepcopy(config)), 3, "train")


@pytest.mark.parametrize("backend", ["pycocotools", "auto"])
def test_their_masks_are_not_looked_for(file: Path, backend: str):
    """One found triangle is all; a mask within a box counts neither way, as with a crowd."""
    metric = CocoInstanceMetric(str(file), ["bbox", "segm"], backend=backend)
    metric.dataset_meta = dict(classes=("stone",))
    masks = np.zeros((2, SIZE, SIZE), bool)
    masks[0] = GeometryMasks([TRIANGLE], SIZE, SIZE).masks[0]
    masks[1, 40:80, 50:80] = True
    boxes = torch.tensor([[8.0, 8, 60, 50], [50.0, 40, 80, 80]])
    found = dict(bboxes=boxes, labels=torch.zeros(2).long(), scores=torch.tensor([0.5, 0.9]))
    found["masks"] = RLEMasks(
        [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks], (SIZE, SIZE)
    )
    sample = dict(img_id=1, ori_shape=(SIZE, SIZE), pred_instances=found)
    metric.process({}, [sample])
    scores = metric.evaluate(1)
    assert scores["coco/segm_mAP"] == 1
    assert scores["coco/bbox_mAP_50"] < 0.5


def test_no_mask_at_all_cannot_be_scored(file: Path):
    content = json.loads(file.read_text())
    content["annotations"] = content["annotations"][1:]
    file.write_text(json.dumps(content), encoding="utf-8")
    metric = CocoInstanceMetric(str(file), ["bbox", "segm"])
    with pytest.raises(UserError, match=r"none of the 2 objects .* has a mask.*metric='bbox'"):
        metric.dataset_meta = dict(classes=("stone",))
