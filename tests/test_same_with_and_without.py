"""Losses and detections are the same by MMCV's compiled ops and by those in Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import set_random_seed
from small_datasets import write_coco
from thin_configs import load, thin

from mmdet_maskr import mmcv_extension
from mmdet_maskr.ops import mmcv_ext
from mmdet_maskr.ops.mmcv_ext import module as _module  # noqa: F401 - mmcv_ext.module

MODELS_TO_COMPARE = [
    "mini/maskr_shapes.py",
    "maskr_keypoint_r50_fpn_90k.py",
    "maskr_r50-caffe_c4_ms-1x.py",
    "maskr_r50-mdconv-c3-c5_fpn_1x.py",
    "compositions/cascade_maskr_r50_fpn_1x.py",
    "compositions/point_rend_r50_fpn_1x.py",
]


def losses_and_detections(cfg: Config) -> tuple[dict[str, torch.Tensor], list]:
    set_random_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    train = DATASETS.build(cfg.train_dataloader.dataset)
    test = DATASETS.build(cfg.test_dataloader.dataset)
    set_random_seed(1)  # flips, samplers
    batch = model.data_preprocessor(pseudo_collate([train[0], train[1]]), training=True)
    losses = model.train()(**batch, mode="loss")
    with torch.no_grad():
        results = model.eval().test_step(pseudo_collate([test[0], test[1]]))
    _, values = model.parse_losses(losses)
    return values, [sample.pred_instances for sample in results]


@pytest.mark.parametrize("name", MODELS_TO_COMPARE)
def test_same(name: str, shapes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if not mmcv_extension.is_compiled():
        pytest.skip("needs MMCV's compiled extension")
    cfg = load(name)
    coco = cfg.data_root == "data/coco/"
    thin(cfg, write_coco(tmp_path / "coco", shapes_root) if coco else shapes_root)
    expected, expected_found = losses_and_detections(cfg)
    called = []
    true = mmcv_ext.find
    monkeypatch.setattr(mmcv_ext, "find", lambda name: called.append(name) or true(name))
    for name in [n for n in vars(mmcv_ext.module) if n in mmcv_ext._PLACES]:
        monkeypatch.delattr(mmcv_ext.module, name)  # found anew
    with mmcv_extension.in_python():
        values, found = losses_and_detections(cfg)
    assert "nms" in called
    assert values.keys() == expected.keys()
    for key, value in values.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(found, expected_found, strict=True):
        assert len(ours) == len(theirs) > 0
        assert torch.equal(ours.labels, theirs.labels)
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=1e-6)
        torch.testing.assert_close(ours.bboxes, theirs.bboxes, rtol=1e-6, atol=1e-4)
        if "masks" in theirs:
            assert (ours.masks != theirs.masks).float().mean() <= 1e-4
        if "keypoints" in theirs:
            torch.testing.assert_close(ours.keypoints, theirs.keypoints, rtol=0, atol=1e-3)
