"""--tta: which pipeline and model a config gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdet_maskr.engine.tta_config import augmented_pipeline, enable_tta
from mmdet_maskr.errors import UserError

PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="KeypointResize", scale=(1333, 800), keep_ratio=True),
    dict(type="LoadKeypointAnnotations", with_bbox=True),
    dict(type="PackKeypointInputs", meta_keys=("img_id", "ori_shape")),
]


@pytest.fixture
def config(repo: Path) -> Config:
    return Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")


def test_every_size_with_and_without_flip():
    loading, augmentation = augmented_pipeline(PIPELINE, [1.0, 0.5])
    assert loading == PIPELINE[0]
    sizes, flips, annotations, packing = augmentation["transforms"]
    assert [step["scale"] for step in sizes] == [(1333, 800), (666, 400)]
    assert [step["prob"] for step in flips] == [0.0, 1.0]
    assert annotations == [PIPELINE[2]], "after the flip: of the original image"
    keys = ("img_id", "ori_shape", "flip", "flip_direction", "keypoint_flip_indices")
    assert packing[0]["meta_keys"] == keys
    assert PIPELINE[1]["scale"] == (1333, 800), "the given pipeline is not changed"


def test_scale_factor():
    steps = [dict(type="Resize", scale_factor=2.0), dict(type="PackDetInputs")]
    (augmentation,) = augmented_pipeline(steps, [1.0, 1.5])
    assert [step["scale_factor"] for step in augmentation["transforms"][0]] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("pipeline", "scales", "message"),
    [
        (PIPELINE, [], r"must be positive, not \[\]"),
        (PIPELINE, [1.0, 0.0], r"must be positive, not \[1.0, 0.0\]"),
        (PIPELINE[:1] + PIPELINE[3:], [1.0], r"one resize .* \['LoadImageFromFile', 'PackKeyp"),
        (PIPELINE[:3], [1.0], r"ends with packing"),
    ],
)
def test_pipelines_that_it_cannot_augment(pipeline: list, scales: list, message: str):
    with pytest.raises(UserError, match=message):
        augmented_pipeline(pipeline, scales)


def test_default_model(config: Config):
    model = config.model
    enable_tta(config)
    assert config.model.type == "mmdet.InstanceTTAModel" and config.model.module.type == model.type
    assert config.test_dataloader.dataset.pipeline[-1]["type"] == "TestTimeAug"
    assert config.val_dataloader.dataset.pipeline[-1]["type"] == "PackKeypointInputs"


def test_the_configs_own_model_and_pipeline(config: Config):
    config.tta_model = dict(type="InstanceTTAModel", tta_cfg=dict(max_per_img=7))
    config.tta_pipeline = [dict(type="LoadImageFromFile")]
    enable_tta(config)
    assert config.model.tta_cfg.max_per_img == 7
    assert config.test_dataloader.dataset.pipeline == config.tta_pipeline
    with pytest.raises(UserError, match="--tta-scales would have no effect"):
        enable_tta(config, [1.0, 2.0])
