"""Predictions of models whose stages have a mask head each."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmdet.registry import MODELS
from thin_configs import load, thin

from mmdet_maskr.apis.predictions import rle_masks


@pytest.mark.parametrize("kind", ["CascadeRoIHead", "AveragedCascadeRoIHead"])
def test_cascades_give_rles(kind: str, tmp_path: Path):
    cfg = thin(load("compositions/cascade_maskr_r50_fpn_1x.py"), tmp_path).model
    cfg.roi_head.type = kind
    model = MODELS.build(cfg)
    with rle_masks(model):
        assert model.roi_head.test_cfg.mask_output == "rle"
    with rle_masks(model, enabled=False):
        assert "mask_output" not in model.roi_head.test_cfg
