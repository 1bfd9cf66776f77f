"""A keypoint head that does not fit the data, or whose keypoints would be left behind."""

from __future__ import annotations

import pytest
from mmdet.models import BatchFixedSizePad, BatchResize, BatchSyncRandomResize
from mmdet.registry import MODELS
from thin_configs import load
from torch import nn

from mmdet_maskr.coco.keypoint_meta import COCO_PERSON
from mmdet_maskr.datasets import shapes
from mmdet_maskr.engine.model_checks import (
    check_batch_augments,
    check_channels,
    check_keypoints,
    check_train_cfg,
)
from mmdet_maskr.errors import UserError

PERSON = dict(classes=("person",), **COCO_PERSON)
JOINT = dict(classes=("dog", "person"), **COCO_PERSON, keypoint_classes=("person",))
FIGURE = dict(classes=shapes.CLASSES, **shapes.KEYPOINT_META)


def model(num_keypoints: int | None = None, labels: list[int] | None = None) -> nn.Module:
    """The modules that a detector has, nothing else in them; None: no keypoint head."""
    detector, roi_head = nn.Module(), nn.Module()
    detector.roi_head = roi_head
    if num_keypoints is not None:
        roi_head.keypoint_head = nn.Module()
        roi_head.keypoint_head.num_keypoints = num_keypoints
        roi_head.keypoint_head.keypoint_labels = labels
    detector.data_preprocessor = nn.Module()
    return detector


@pytest.mark.parametrize(
    ("detector", "metainfo"),
    [
        (model(17), PERSON),
        (model(17, [0]), PERSON),
        (model(17, [1]), JOINT),
        (model(9, [5]), FIGURE),
        (model(), PERSON),
        (model(), dict(classes=("a", "b"))),
    ],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_what_fits(detector: nn.Module, metainfo: dict, split: str):
    check_keypoints(detector, metainfo, split)


@pytest.mark.parametrize(
    ("detector", "metainfo", "message"),
    [
        (
            model(9),
            PERSON,
            r"of train_dataloader has 17 keypoints, but model\.roi_head\.keypoint_head\."
            r"num_keypoints=9: set num_keypoints=17 there",
        ),
        (
            model(17),
            JOINT,
            r"are \['person'\] by .* of train_dataloader\.dataset, which are labels \[1\], but "
            r"model\.roi_head\.keypoint_head\.keypoint_labels=None \(all classes\): set "
            r"keypoint_labels=\[1\] there",
        ),
        (model(17, [0]), JOINT, r"keypoint_labels=\[0\]: set keypoint_labels=\[1\] there"),
        (model(17, [0, 1]), PERSON, r"keypoint_labels=\[0, 1\]: set keypoint_labels=None there"),
        (
            model(17),
            dict(classes=("person",)),
            r"has model\.roi_head\.keypoint_head, but the dataset of train_dataloader has no key",
        ),
    ],
)
def test_what_does_not(detector: nn.Module, metainfo: dict, message: str):
    with pytest.raises(UserError, match=message):
        check_keypoints(detector, metainfo, "train")


def test_data_without_keypoints_can_be_tested_on():
    check_keypoints(model(17), dict(classes=("person",)), "test")


def test_heads_within_a_wrapper_are_found():
    """As in a detector for test-time augmentation or for semi-supervised training."""
    wrapper = nn.Module()
    wrapper.module = model(9)
    with pytest.raises(UserError, match=r"model\.module\.roi_head\.keypoint_head\.num_keypoints=9"):
        check_keypoints(wrapper, PERSON, "test")


def test_heads_without_settings_for_training():
    detector = model()
    detector.rpn_head = nn.Module()
    check_train_cfg(detector)
    detector.rpn_head.train_cfg = detector.roi_head.train_cfg = dict(assigner=None)
    check_train_cfg(detector)
    detector.roi_head.train_cfg = None
    with pytest.raises(UserError, match=r"model\.train_cfg\.rcnn is None, but roi_head"):
        check_train_cfg(detector)


@pytest.mark.parametrize(
    ("augment", "refused"),
    [
        (BatchSyncRandomResize((64, 128)), True),
        (BatchResize((64, 128)), True),
        (BatchFixedSizePad((64, 64)), False),
    ],
)
def test_batch_augments(augment: nn.Module, refused: bool):
    for detector, has_keypoints in ((model(), False), (model(17), True)):
        detector.data_preprocessor.batch_augments = nn.ModuleList([augment])
        if refused and has_keypoints:
            message = rf"batch_augments\.0 is {type(augment).__name__}, which resizes .* keypoints"
            with pytest.raises(UserError, match=message):
                check_batch_augments(detector)
        else:
            check_batch_augments(detector)


def test_neck_of_another_backbone():
    """EfficientNet-Lite2 under a neck for Lite0; a ResNet does not tell its channels."""
    cfg = load("light/maskr_effnet-lite0_fpn_480-3x.py").model
    check_channels(MODELS.build(cfg))
    cfg.backbone.arch = "lite2"
    with pytest.raises(UserError, match=r"neck.in_channels=\[24, 48, 120, 352\]"):
        check_channels(MODELS.build(cfg))
    check_channels(MODELS.build(load("light/maskr_r18_fpn_480-3x.py").model))
