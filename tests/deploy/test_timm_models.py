"""Detectors on timm's backbones train a step, and find the same as ONNX as in PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from thin_configs import load as load_config
from thin_configs import thin
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from exported import dataset_meta, expected_predictions, photo

from mmdet_maskr.benchmark.launches import training_batch
from mmdet_maskr.benchmark.random_model import batch_of, build, calibrate
from mmdet_maskr.deploy import load
from mmdet_maskr.deploy.export.check import FP32, Differences
from mmdet_maskr.deploy.export.write import export

BACKBONES = {
    "convnext_tiny": {},
    "efficientnet_lite0": {},
    "mobilenetv3_small_100": dict(out_indices=(1, 2, 3, 4)),
    "mobilenetv4_conv_small": {},
    "mvitv2_tiny": dict(options=dict(img_size=(480, 480))),
    "swinv2_tiny_window8_256": dict(options=dict(strict_img_size=False)),
}


SLOW = ("convnext_tiny", "mvitv2_tiny", "swinv2_tiny_window8_256")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in BACKBONES]
)
def test_trains_and_exports(name: str, tmp_path: Path):
    pytest.importorskip("timm", reason="timm and torchvision are optional", exc_type=ImportError)
    pytest.importorskip("onnxruntime")
    from mmdet.registry import MODELS

    init_default_scope("mmdet")
    cfg = thin(load_config("light/maskr_mobilenetv4-s_fpn_480-3x.py"), Path("nowhere"))
    cfg.model.backbone = dict(type="TimmBackbone", model_name=name, **BACKBONES[name])
    backbone = MODELS.build(cfg.model.backbone)
    cfg.model.neck.in_channels = list(backbone.channels)
    strides = list(backbone.strides)
    cfg.model.rpn_head.anchor_generator.strides = [*strides, strides[-1] * 2]
    for extractor in ("bbox_roi_extractor", "mask_roi_extractor"):
        cfg.model.roi_head[extractor].featmap_strides = strides
    cfg.model.test_cfg.rcnn.update(dict(score_thr=0.05, max_per_img=20))
    # images of two shapes after resizing, 96 x 128 and 128 x 96 with padding
    cfg.test_dataloader.dataset.pipeline[1].scale = (128, 128)
    model = build(cfg.model)

    model.train()
    batch = training_batch(model, (64, 96), 3)
    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    assert bool(torch.isfinite(total))
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.eval()

    nn.init.normal_(model.rpn_head.rpn_cls.weight, std=0.1)
    calibrate(model, batch_of(photo(120, 160)), candidates=20)
    export(model, cfg, dataset_meta(model), tmp_path, "onnx")
    exported = load(tmp_path, threads=1)
    differences = Differences()
    for size in ((120, 160), (97, 61)):
        image = photo(*size)
        expected = expected_predictions(model, cfg, image)
        differences.add(expected, exported(image)["predictions"][0], FP32.iou)
    assert differences.expected >= 10 and differences.missing <= 1, differences
    assert all(row[3] for row in differences.rows(FP32)[1:]), differences
