"""Each name of the catalogue: fetched from a mirror, converted strictly, built, and it detects."""

from __future__ import annotations

from pathlib import Path

import mirror
import numpy as np
import pytest

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.zoo import catalogue, home

# One of each kind; the others are marked slow.
FAST = (
    "mask_rcnn_R_50_FPN_3x",
    "mask_rcnn_R_50_C4_1x",
    "keypoint_rcnn_R_50_FPN_3x",
    "mask_rcnn_vitdet_b_100ep",
    "maskrcnn_resnet50_fpn_v2",
    "mask-rcnn_r50_fpn_1x_coco",
)
NAMES = [
    pytest.param(model.name, marks=[] if model.name in FAST else [pytest.mark.slow])
    for model in catalogue.models()
]


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_fetched_converted_and_detects(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: np.ndarray
):
    model = mirror.install(monkeypatch, [name], tmp_path / "mirror")[name]
    monkeypatch.setenv(home.HOME, str(tmp_path / "home"))
    monkeypatch.setenv(home.MIRROR, (tmp_path / "mirror").as_uri())
    inferencer = MaskRInferencer.from_pretrained(name, device="cpu", show_progress=False)
    result = inferencer(image, return_datasamples=model.task == "panoptic")["predictions"][0]
    if model.task == "panoptic":
        assert result.pred_panoptic_seg.sem_seg.shape[-2:] == (96, 128)
        return
    assert len(result["scores"]) > 0
    assert ("masks" in result) == (model.task == "masks")
    assert ("keypoints" in result) == (model.task == "keypoints")
