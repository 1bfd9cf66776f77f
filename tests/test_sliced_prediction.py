"""SAHI and supervision, which look for names and interfaces of MMDetection's, find ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import Resize
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.datasets import shapes, wrappers

CONFIGS = dict(
    masks="configs/mini/ablation_fpn.py", keypoints="configs/mini/ablation_keypoint_mask.py"
)


@pytest.fixture
def trained(repo: Path, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Config and checkpoint as a Runner writes them, of random weights that detect everything."""

    def make(name: str, **resize: Any) -> tuple[Path, Path]:
        cfg = Config.fromfile(repo / name)
        if resize:
            cfg.test_dataloader.dataset.pipeline[1] = resize
        cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=4, mask_thr_binary=0.0)
        cfg.dump(tmp_path / "config.py")
        torch.manual_seed(0)
        weights = MODELS.build(cfg.model).state_dict()
        meta = dict(dataset_meta=dict(classes=shapes.CLASSES))
        hub = dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1])))
        torch.save(dict(state_dict=weights, meta=meta, message_hub=hub), tmp_path / "model.pth")
        return tmp_path / "config.py", tmp_path / "model.pth"

    return make


@pytest.fixture
def image(shapes_root: Path) -> np.ndarray:
    return cv2.imread(str(min((shapes_root / "val").glob("*.png"))))


@pytest.mark.parametrize(
    ("name", "resize"),
    [
        ("masks", {}),
        ("keypoints", {}),
        ("keypoints", dict(type="KeypointResize", scale=(80, 80), keep_ratio=True)),
        ("masks", dict(type="SourceResize", scale=(80, 60), convention="detectron2")),
    ],
)
def test_sahi(trained: Callable, image: np.ndarray, name: str, resize: dict):
    """AutoDetectionModel takes mask and keypoint configs, and slices give masks.

    It sets the size of our resizes as of mmdet's.
    """
    sahi = pytest.importorskip("sahi")
    from sahi.predict import get_sliced_prediction

    config, weights = trained(CONFIGS[name], **resize)
    model = sahi.AutoDetectionModel.from_pretrained(
        "mmdet", model_path=str(weights), config_path=str(config), device="cpu",
        confidence_threshold=0.0, image_size=128,
    )  # fmt: skip
    sizes = [step.scale for step in model.model.pipeline.transforms if isinstance(step, Resize)]
    assert sizes == [(128, 128)]
    large = np.tile(image, (2, 2, 1))
    found = get_sliced_prediction(
        np.ascontiguousarray(large[..., ::-1]), model, slice_height=96, slice_width=96, verbose=0
    ).object_prediction_list
    assert found
    for one in found:
        assert one.mask is not None and one.mask.bool_mask.shape == (192, 192)
        assert one.category.name in shapes.CLASSES


def test_bands_are_not_for_sahi(repo: Path):
    """It swaps the first and last band of an array, as red and blue: it must not take them."""
    sahi = pytest.importorskip("sahi")
    with pytest.raises(ValueError, match="LoadImageFromFile is not found"):
        sahi.AutoDetectionModel.from_pretrained(
            "mmdet", config_path=str(repo / "configs/mini/maskr_shapes-5bands.py"), device="cpu"
        )


def test_supervision(trained: Callable, image: np.ndarray):
    """Dense masks and those of tiles, which are RLEs."""
    supervision = pytest.importorskip("supervision")
    inferencer = MaskRInferencer(*trained(CONFIGS["masks"]), device="cpu", show_progress=False)
    for options in ({}, dict(tile=96)):
        (sample,) = inferencer(image, return_datasamples=True, **options)["predictions"]
        found = supervision.Detections.from_mmdetection(sample)
        assert len(found) == len(sample.pred_instances) > 0
        assert found.mask.shape == (len(found), *image.shape[:2]) and found.mask.dtype == bool
        assert np.allclose(found.xyxy, sample.pred_instances.bboxes)
        assert supervision.MaskAnnotator().annotate(image.copy(), found).shape == image.shape


def test_test_pipelines_have_a_resize(repo: Path):
    """By the name under which such tools look for it, and set its scale."""
    files = sorted((repo / "configs" / "_base_" / "datasets").glob("*.py"))
    datasets = [(path.name, Config.fromfile(path).get("test_dataloader")) for path in files]
    steps = {
        name: [step["type"] for step in wrappers.the_pipeline(loader.dataset, "a test")]
        for name, loader in datasets
        if loader is not None
    }
    assert len(steps) > 5 and not [name for name, types in steps.items() if "Resize" not in types]


def test_a_checkpoint_is_read_after_the_import_alone(tmp_path: Path):
    """mmdet's inferencer reads one before it asks for any part of ours."""
    torch.save(dict(hub=HistoryBuffer([1.0], [1])), tmp_path / "model.pth")
    code = (
        "import sys, mmdet_maskr\n"
        "assert 'mmengine.runner.checkpoint' not in sys.modules\n"
        "from mmengine.infer.infer import _load_checkpoint\n"
        f"print(_load_checkpoint({str(tmp_path / 'model.pth')!r}, map_location='cpu').keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "dict_keys(['hub'])" in done.stdout, done.stderr[-1000:]
