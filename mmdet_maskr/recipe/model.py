"""The model part of a recipe: anchors, RoIs and heads that fit the objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.config import Config

from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe.bands import Bands
from mmdet_maskr.recipe.facts import Facts
from mmdet_maskr.recipe.lines import Choice
from mmdet_maskr.recipe.plan import FEW_BOXES, Plan

STRIDES = [4, 8, 16, 32]


def base_of(facts: Facts, plan: Plan) -> tuple[str, str]:
    """Name of the model in ``configs/_base_/models``, and the reason."""
    backbone = "mini_fpn" if plan.small else "r50_fpn"
    why = (
        "a ResNet-18 with half the channels, which trains from scratch on a CPU in minutes"
        if plan.small
        else "ResNet-50-FPN, for which there are weights"
    )
    return (f"maskr_keypoint_{backbone}" if facts.keypoints else f"maskr_{backbone}"), why


def model_of(facts: Facts, plan: Plan) -> dict[str, Any]:
    """The settings of the model that differ from the base."""
    classes = Choice(len(facts.classes), "classes of the folder")
    roi_head: dict[str, Any] = dict(bbox_head=dict(num_classes=classes))
    if facts.masks:
        roi_head["mask_head"] = dict(num_classes=classes)
    else:
        none = Choice(None, "no object has a mask")
        roi_head |= dict(mask_roi_extractor=none, mask_head=none)
    if facts.keypoints:
        roi_head["keypoint_head"] = _keypoint_head(facts)
    tree: dict[str, Any] = {}
    if facts.bands is not None:
        tree |= _bands(facts.bands)
    if plan.small:
        tree |= _anchors(facts, plan)
    tree["roi_head"] = roi_head
    if not plan.small:
        tree["backbone"] = tree.get("backbone", {}) | dict(
            frozen_stages=Choice(2 if facts.images < 1000 else 1, _why_frozen(facts)),
            init_cfg=Choice(None, "load_from has all weights"),
        )
    tree |= _regions(facts, plan)
    return tree


def _bands(bands: Bands) -> dict[str, Any]:
    measured = f"measured on {bands.photos} photos"
    return dict(
        data_preprocessor=dict(
            type="BandsDataPreprocessor",
            mean=Choice([float(f"{value:.5g}") for value in bands.mean], measured),
            std=[float(f"{value:.5g}") for value in bands.std],
            bgr_to_rgb=False,
        ),
        backbone=dict(in_channels=Choice(len(bands.mean), "bands of the photos")),
    )


def text_of_model(config: str, facts: Facts) -> str:
    """The ``model`` of another config, as a base.

    Args:
        config: its path.
        facts: facts of the data; the model must have heads for its annotations.

    Raises:
        UserError: the model has several box heads (a cascade), or lacks a head.
    """
    found = read_config(config).model
    roi_head = found.get("roi_head", {})
    if not isinstance(roi_head.get("bbox_head"), Mapping):
        raise UserError(
            "--weights: this model has several box heads, which `maskr train FOLDER` does "
            "not support. Write a config for it, with type='AnyInstanceDataset' as the "
            "dataset."
        )
    for head, has in (("mask_head", facts.masks), ("keypoint_head", facts.keypoints)):
        if has and roi_head.get(head) is None:
            raise UserError(
                f"--weights: this model has no {head}, but the folder has annotations for it. "
                "Use the weights of a model that has one."
            )
    return Config(dict(model=found)).pretty_text


def detections_of(facts: Facts) -> int:
    """The largest number of detections to keep per photo."""
    return int(min(max(30, 10 * math.ceil(facts.most_objects * 0.15)), 1000))


def _keypoint_head(facts: Facts) -> dict[str, Any]:
    keypoints = facts.keypoints or {}
    having = [i for i, name in enumerate(facts.classes) if name in keypoints["keypoint_classes"]]
    head = dict(num_keypoints=Choice(len(keypoints["keypoints"]), "keypoints of the folder"))
    if len(having) < len(facts.classes):
        head["keypoint_labels"] = Choice(having, "the classes that have keypoints")
    return head


def _why_frozen(facts: Facts) -> str:
    what = "two of four" if facts.images < 1000 else "the first of four"
    return f"{facts.images} photos leave {what} stages of the backbone as they are"


def _anchors(facts: Facts, plan: Plan) -> dict[str, Any]:
    if facts.objects < FEW_BOXES:
        few = f"as in the base; {facts.objects} objects are too few to choose"
        return dict(
            neck=dict(num_outs=Choice(5, "five levels of anchors, for all object sizes")),
            rpn_head=dict(
                anchor_generator=dict(
                    scales=Choice([4], few), strides=Choice([*STRIDES, 64], "one for each level")
                )
            ),
        )
    factor = plan.short / min(facts.width, facts.height)
    small, large = facts.size(0.1) * factor, facts.size(0.9) * factor
    scale = min(max(round(small * 1.2 / STRIDES[0] * 2) / 2, 2.0), 8.0)
    levels = 4 if scale * STRIDES[-1] >= 0.7 * large else 5
    strides = [*STRIDES, 64][:levels]
    why = f"anchors of {scale * 4:.0f} to {scale * strides[-1]:.0f} pixels for objects of "
    why += f"{small:.0f} to {large:.0f} (10 and 90 %)"
    generator = dict(
        scales=Choice([scale], why), strides=Choice(strides, "one for each level"),
        ratios=Choice(*_ratios(facts)),
    )  # fmt: skip
    return dict(
        neck=dict(num_outs=Choice(levels, "as many levels as the object sizes need")),
        rpn_head=dict(anchor_generator=generator),
    )


def _ratios(facts: Facts) -> tuple[list[float], str]:
    low, high = np.quantile(facts.aspects, [0.1, 0.9]).tolist()
    if low > 0.4 and high < 2.5:
        return [0.5, 1.0, 2.0], f"height by width is from {low:.2g} to {high:.2g} (10 and 90 %)"
    middle = float(np.median(facts.aspects))
    values = sorted({round(min(max(v, 0.1), 10.0), 2) for v in (low, middle, high, 1.0)})
    return values, f"thin objects: height by width is from {low:.2g} to {high:.2g} (10 and 90 %)"


def _regions(facts: Facts, plan: Plan) -> dict[str, Any]:
    """How many RoIs and detections there are."""
    kept = detections_of(facts)
    many = facts.most_objects
    why = f"1.5 times the largest number of objects in a photo ({many}), at least 30"
    tree: dict[str, Any] = dict(
        train_cfg=dict(rcnn=dict(mask_size=Choice(28, "side of the mask target, as in the paper"))),
        test_cfg=dict(rcnn=dict(max_per_img=Choice(max(kept, 30), why))),
    )
    if plan.small:
        proposals = Choice(
            min(max(100, 3 * many), 1000), f"three for each of {many} objects, at least 100"
        )
        before = Choice(max(300, 2 * proposals.value), "per level, before NMS")
        rois = 128 if facts.many_objects > 15 else 64
        sampled = (
            f"RoIs sampled per photo; 95 % of the photos have at most {facts.many_objects} objects"
        )
        tree["train_cfg"] |= dict(
            rpn=dict(sampler=dict(num=Choice(2 * rois, "anchors sampled per photo"))),
            rpn_proposal=dict(nms_pre=before, max_per_img=proposals),
        )
        tree["train_cfg"]["rcnn"]["sampler"] = dict(num=Choice(rois, sampled))
        tree["test_cfg"]["rpn"] = dict(nms_pre=before, max_per_img=proposals)
    return tree
