"""Structures of Detectron2 that differ from the usual: every tensor finds its place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2_models import options, state_dict, write
from mmdet.registry import TRANSFORMS

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import from_detectron2
from mmdet_maskr.weights.output import build
from mmdet_maskr.weights.rename import WeightsMismatchError

C5 = dict(
    BACKBONE=dict(NAME="build_resnet_backbone"),
    RPN=dict(IN_FEATURES=["res5"]),
    ANCHOR_GENERATOR=dict(SIZES=[[32, 64, 128, 256, 512]]),
)
DC5 = dict(
    C5,
    RESNETS=dict(OUT_FEATURES=["res5"], RES5_DILATION=2),
    ROI_HEADS=dict(IN_FEATURES=["res5"]),
)
C4 = dict(
    C5,
    RPN=dict(IN_FEATURES=["res4"]),
    RESNETS=dict(OUT_FEATURES=["res4"]),
    ROI_HEADS=dict(NAME="Res5ROIHeads", IN_FEATURES=["res4"]),
    ROI_BOX_HEAD=dict(NAME="", NUM_FC=0, POOLER_RESOLUTION=14),
    ROI_MASK_HEAD=dict(NUM_CONV=0),
)
GN = dict(
    RESNETS=dict(NORM="GN", WIDTH_PER_GROUP=32, RES2_OUT_CHANNELS=128, STEM_OUT_CHANNELS=32),
    FPN=dict(NORM="GN"),
    ROI_BOX_HEAD=dict(NUM_CONV=4, NUM_FC=1, CONV_DIM=32, NORM="GN"),
    ROI_MASK_HEAD=dict(NORM="GN"),
)
GROUPS = dict(
    RESNETS=dict(NUM_GROUPS=4, WIDTH_PER_GROUP=4, DEPTH=101, STRIDE_IN_1X1=False),
    PIXEL_STD=[57.375, 57.12, 58.395],
)
CASES = {
    "R101": (dict(RESNETS=dict(DEPTH=101)), dict(depth=101)),
    "ResNeXt": (GROUPS, dict(depth=101, width=16, groups=4)),
    "DC5": (DC5, dict(body="dc5", anchors=15)),
    "C4": (C4, dict(body="c4", anchors=15)),
    "C4 in groups": (
        dict(C4, RESNETS=dict(C4["RESNETS"], NUM_GROUPS=2)),
        dict(body="c4", anchors=15, width=16, groups=2),
    ),
    "R18": (
        dict(RESNETS=dict(DEPTH=18, RES2_OUT_CHANNELS=64)),
        dict(depth=18, out_channels=64),
    ),
    "class-agnostic": (
        dict(
            ROI_MASK_HEAD=dict(CLS_AGNOSTIC_MASK=True),
            ROI_BOX_HEAD=dict(CLS_AGNOSTIC_BBOX_REG=True),
        ),
        dict(mask_classes=1, box_classes=1),
    ),
    "GN": (
        GN,
        dict(norm="GN", head_norm="GN", stem=32, width=32, out_channels=128, box_convs=4, fcs=1),
    ),
    "BN": (dict(RESNETS=dict(NORM="BN")), dict(norm="BN")),
    "cascade": (
        dict(
            ROI_HEADS=dict(NAME="CascadeROIHeads"),
            ROI_BOX_HEAD=dict(CLS_AGNOSTIC_BBOX_REG=True),
        ),
        dict(stages=3, box_classes=1),
    ),
    "boxes only": (dict(MASK_ON=False), dict(mask_classes=None)),
    "masks and keypoints": (
        dict(KEYPOINT_ON=True, ROI_KEYPOINT_HEAD=dict(CONV_DIMS=[32] * 8, NUM_KEYPOINTS=5)),
        dict(keypoints=5),
    ),
    "keypoints": (
        dict(
            KEYPOINT_ON=True,
            MASK_ON=False,
            ROI_KEYPOINT_HEAD=dict(
                CONV_DIMS=[32] * 8, NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS=False, LOSS_WEIGHT=4.0
            ),
        ),
        dict(keypoints=17, mask_classes=None),
    ),
}


def convert(tmp_path: Path, name: str):
    changes, shape = CASES[name]
    arrays = state_dict(**shape)
    return arrays, from_detectron2(*write(tmp_path, options(changes), arrays))


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_has_its_place(tmp_path: Path, name: str):
    """Strictly: conversion fails otherwise. Values arrive unchanged, and none is invented."""
    arrays, conversion = convert(tmp_path, name)
    assert not conversion.dropped
    given, got = (
        sorted(
            float(np.asarray(values, np.float64).sum())
            for key, values in tensors.items()
            # one mask head there, one a stage here
            if not key.endswith("num_batches_tracked") and not re.search(r"mask_head\.[12]\.", key)
        )
        for tensors in (arrays, conversion.state)
    )
    np.testing.assert_allclose(got, given, rtol=0, atol=1e-6)
    model = build(conversion.settings["model"])
    model.load_state_dict(conversion.state)
    with torch.no_grad():
        features = model.extract_feat(torch.zeros(1, 3, 64, 64))
    assert len(features) == (5 if model.with_neck else 1)


def test_what_the_configs_say(tmp_path: Path):
    def model(name: str) -> dict:
        folder = tmp_path / name
        folder.mkdir()
        return convert(folder, name)[1].settings["model"]

    dc5 = model("DC5")
    assert dc5["backbone"]["strides"] == (1, 2, 2, 1)
    assert dc5["backbone"]["dilations"] == (1, 1, 1, 2)
    assert dc5["rpn_head"]["anchor_generator"]["strides"] == [16]
    assert dc5["data_preprocessor"]["pad_size_divisor"] == 1
    groups = model("ResNeXt")
    assert (groups["backbone"]["type"], groups["backbone"]["groups"]) == ("ResNeXt", 4)
    assert groups["backbone"]["style"] == "pytorch"
    assert groups["data_preprocessor"]["std"] == [57.375, 57.12, 58.395]
    cascade = model("cascade")
    assert cascade["roi_head"]["type"] == "AveragedCascadeRoIHead"
    weights = [head["bbox_coder"]["weights"][0] for head in cascade["roi_head"]["bbox_head"]]
    assert weights == [10, 20, 30]
    ious = [cfg["assigner"]["pos_iou_thr"] for cfg in cascade["train_cfg"]["rcnn"]]
    assert ious == [0.5, 0.6, 0.7]
    gn = model("GN")
    assert gn["roi_head"]["bbox_head"]["norm_cfg"]["type"] == "GN"
    assert gn["backbone"]["norm_eval"] is False
    head = model("keypoints")["roi_head"]["keypoint_head"]
    assert (head["loss_normalizer"], head["loss_weight"]) == ("fixed", 4.0)
    agnostic = model("class-agnostic")["roi_head"]
    assert agnostic["mask_head"]["class_agnostic"] and agnostic["bbox_head"]["reg_class_agnostic"]


def test_options_reach_their_parts(tmp_path: Path):
    """Thresholds, numbers, losses and sizes, each with a value of its own."""
    config = options(
        dict(
            RPN=dict(
                NMS_THRESH=0.65,
                PRE_NMS_TOPK_TEST=900,
                POST_NMS_TOPK_TEST=800,
                PRE_NMS_TOPK_TRAIN=700,
                POST_NMS_TOPK_TRAIN=600,
                SMOOTH_L1_BETA=0.2,
                LOSS_WEIGHT=3.0,
            ),
            PROPOSAL_GENERATOR=dict(MIN_SIZE=5),
            ROI_HEADS=dict(SCORE_THRESH_TEST=0.02, NMS_THRESH_TEST=0.45, BATCH_SIZE_PER_IMAGE=99),
            ROI_BOX_HEAD=dict(SMOOTH_L1_BETA=0.5, POOLER_TYPE="ROIAlign", POOLER_SAMPLING_RATIO=2),
            BACKBONE=dict(FREEZE_AT=0),
        )
    )
    config["INPUT"] = dict(
        FORMAT="RGB", MIN_SIZE_TEST=640, MAX_SIZE_TEST=1000, MIN_SIZE_TRAIN="(1, 2)"
    )
    config["TEST"] = dict(DETECTIONS_PER_IMAGE=50)
    settings = from_detectron2(*write(tmp_path, config, state_dict())).settings
    model = settings["model"]
    assert model["data_preprocessor"]["bgr_to_rgb"] is True
    assert model["backbone"]["frozen_stages"] == -1
    test, train = model["test_cfg"]["rpn"], model["train_cfg"]["rpn_proposal"]
    assert (test["nms_pre"], test["max_per_img"]) == (900, 800)
    assert (train["nms_pre"], train["max_per_img"]) == (700, 600)
    assert test["nms"]["iou_threshold"] == 0.65 and test["min_bbox_size"] == 5
    assert model["rpn_head"]["loss_bbox"] == dict(type="SmoothL1Loss", beta=0.2, loss_weight=3.0)
    rcnn = model["test_cfg"]["rcnn"]
    assert (rcnn["score_thr"], rcnn["nms"]["iou_threshold"]) == (0.02, 0.45)
    assert rcnn["max_per_img"] == 50
    assert model["train_cfg"]["rcnn"]["sampler"]["num"] == 99
    layer = model["roi_head"]["bbox_roi_extractor"]["roi_layer"]
    assert layer["aligned"] is False and layer["sampling_ratio"] == 2
    assert "aligned" not in model["roi_head"]["mask_roi_extractor"]["roi_layer"]
    resize = settings["test_dataloader"]["dataset"]["pipeline"][1]
    assert resize["scale"] == (1000, 640)
    assert settings["train_pipeline"][2]["scales"] == [(1333, 1), (1333, 2)]
    config["INPUT"]["MIN_SIZE_TRAIN_SAMPLING"] = "range"
    ranged = from_detectron2(*write(tmp_path, config, state_dict())).settings
    resize = TRANSFORMS.build(ranged["train_pipeline"][2])
    assert resize.scale == [(1333, 1), (1333, 2)] and resize.resize.convention == "detectron2"
    assert settings["test_dataloader"]["dataset"]["metainfo"]["classes"][2] == "class_2"


@pytest.mark.parametrize("keypoints", [False, True])
def test_images_that_are_not_resized(tmp_path: Path, keypoints: bool):
    """A size of 0 turns Detectron2's resizing off."""
    changes, shape = CASES["masks and keypoints" if keypoints else "R101"]
    config = options(changes)
    config["INPUT"] = dict(MIN_SIZE_TEST=0, MIN_SIZE_TRAIN=[0])
    settings = from_detectron2(*write(tmp_path, config, state_dict(**shape))).settings
    image = np.random.default_rng(0).integers(0, 256, (41, 60, 3), dtype=np.uint8)
    for name, step in (("test_pipeline", 1), ("train_pipeline", 2)):
        resize = TRANSFORMS.build(settings[name][step])
        found = resize(dict(img=image.copy(), img_shape=(41, 60), ori_shape=(41, 60)))
        assert np.array_equal(found["img"], image), name
        assert found["scale_factor"] == (1.0, 1.0) and found["img_shape"] == (41, 60)
    config["INPUT"]["MIN_SIZE_TRAIN"] = [0, 800]
    with pytest.raises(UserError, match=r"INPUT\.MIN_SIZE_TRAIN: \[0, 800\]"):
        from_detectron2(*write(tmp_path, config, state_dict(**shape)))


@pytest.mark.parametrize(("name", "stages"), [("C4", 3), ("R18", 4)])
def test_all_stages_frozen(tmp_path: Path, name: str, stages: int):
    """Detectron2 freezes those that the body has; a C4 model's res5 stands in its head."""
    changes, shape = CASES[name]
    config = options(changes)
    config["MODEL"]["BACKBONE"]["FREEZE_AT"] = 5
    settings = from_detectron2(*write(tmp_path, config, state_dict(**shape))).settings
    assert settings["model"]["backbone"]["frozen_stages"] == stages
    model = build(settings["model"]).train()
    assert not any(p.requires_grad for p in model.backbone.parameters())
    if name == "C4":
        assert any(p.requires_grad for p in model.roi_head.shared_head.parameters())


def test_mismatches_are_listed(tmp_path: Path):
    arrays = state_dict()
    arrays["roi_heads.extra.weight"] = arrays["roi_heads.box_head.fc1.bias"]
    del arrays["backbone.fpn_lateral3.bias"]
    arrays["roi_heads.box_head.fc2.weight"] = np.zeros((16, 17), np.float32)
    with pytest.raises(WeightsMismatchError) as caught:
        from_detectron2(*write(tmp_path, options({}), arrays))
    message = str(caught.value)
    assert "1 not used:\n  roi_heads.extra.weight" in message
    assert "1 not filled:\n  neck.lateral_convs.1.conv.bias" in message
    assert "fc2.weight (16, 17) for roi_head.bbox_head.shared_fcs.1.weight (16, 16)" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(ROI_HEADS=dict(NAME="Res5ROIHeads")), "Res5ROIHeads does not work with an FPN"),
        (dict(RPN=dict(IN_FEATURES=["p2", "p3"])), "IN_FEATURES"),
        (dict(RPN=dict(CONV_DIMS=[32, 16])), "CONV_DIMS"),
        (dict(ANCHOR_GENERATOR=dict(SIZES=[[32], [64]])), "SIZES must have one list or 5"),
        (
            dict(ANCHOR_GENERATOR=dict(ASPECT_RATIOS=[[1.0], [2.0], [1.0], [1.0], [1.0]])),
            "the same on all levels",
        ),
    ],
)
def test_contradictions(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(UserError, match=message):
        from_detectron2(*write(tmp_path, options(changes), state_dict()))
