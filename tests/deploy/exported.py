"""Thin models of every kind, exported; and what they should give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope
from thin_configs import load as load_config
from thin_configs import thin
from torch import nn

from mmdet_maskr.apis.predictions import as_lists
from mmdet_maskr.benchmark.random_model import batch_of, build, calibrate

KINDS = dict(
    masks="maskr_r50_fpn_1x.py",
    c4="maskr_r50_c4_1x.py",
    strided_c4="maskr_r50-caffe_c4_ms-1x.py",
    c5="maskr_r50_c5_1x.py",
    light="light/maskr_effnet-lite2_fpn_480-3x.py",
    boxes="compositions/faster_r50_fpn_1x.py",
    keypoints="maskr_keypoint_r50_fpn_90k.py",
    joint="maskr_joint_r50_fpn_1x.py",
)


def thin_model(name: str, **test_options) -> tuple[nn.Module, Config]:
    """A thin model with random weights that differ from detection to detection, and its config.

    Args:
        name: of the config.
        test_options: of ``test_cfg.rcnn``.
    """
    init_default_scope("mmdet")  # fixtures of a module are made before that of each test
    cfg = thin(load_config(name), Path("nowhere"))
    cfg.model.test_cfg.rpn.max_per_img = 50
    cfg.model.test_cfg.rcnn.update(dict(score_thr=0.05, max_per_img=20))
    model = build(cfg.model)
    nn.init.normal_(model.rpn_head.rpn_cls.weight, std=0.1)
    calibrate(model, batch_of(photo(120, 160)), candidates=40)
    model.test_cfg.rcnn.update(test_options)
    if "joint" in name:  # of random classes, half have keypoints
        model.roi_head.keypoint_head.keypoint_labels = list(range(0, 80, 2))
    return model, cfg


def dataset_meta(model: nn.Module) -> dict:
    meta = dict(classes=tuple(f"class{i}" for i in range(model.roi_head.bbox_head.num_classes)))
    keypoint_head = getattr(model.roi_head, "keypoint_head", None)
    if keypoint_head is not None:
        meta["keypoints"] = tuple(f"point{i}" for i in range(keypoint_head.num_keypoints))
    return meta


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: smooth colors with an edge, and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 3 % 256, y * 5 % 256, (x + y) * 2 % 256], 2)
    return (image + rng.integers(0, 40, image.shape)).clip(0, 255).astype(np.uint8)


def expected_predictions(model: nn.Module, cfg: Config, image: np.ndarray) -> dict:
    """What mmdet's pipeline and the model in PyTorch give for an image, as lists and RLEs."""
    pipeline = [step for step in cfg.test_dataloader.dataset.pipeline if "Ann" not in step["type"]]
    pipeline[0] = dict(type="mmdet.LoadImageFromNDArray")
    data = Compose(pipeline)(dict(img=image, img_id=0))
    batch = dict(inputs=[data["inputs"]], data_samples=[data["data_samples"]])
    with torch.no_grad():
        return as_lists(model.test_step(batch)[0])
