"""Wrapped models and every way to read a file: an inferencer loses nothing, or refuses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.models.detectors import SemiBaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from PIL import Image

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.engine.tta_config import enable_tta
from mmdet_maskr.engine.unwrap import predicting_part, without_wrappers
from mmdet_maskr.errors import UserError

FIELDS = {"labels", "scores", "bboxes", "masks", "keypoints", "keypoint_scores"}


@pytest.fixture
def cfg(repo: Path) -> Config:
    """The shapes model with masks and keypoints; everything is detected."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=6)
    return cfg


def build(cfg: Config, weights: Path | None = None) -> MaskRInferencer:
    torch.manual_seed(0)
    return MaskRInferencer(cfg, weights, device="cpu", show_progress=False)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_augmented_model_gives_masks_and_keypoints(
    cfg: Config, image: np.ndarray, tmp_path: Path, scales: tuple[float, ...]
):
    """From a checkpoint of the model alone, and all that it gives."""
    torch.manual_seed(1)
    weights = tmp_path / "plain.pth"
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), weights)
    plain = build(Config(cfg.to_dict()), weights)(image)["predictions"][0]
    enable_tta(cfg, scales)
    inferencer = build(cfg, weights)
    found = inferencer(image, no_save_vis=True)["predictions"][0]
    assert set(found) == set(plain) >= FIELDS
    assert len(found["masks"]) == len(found["keypoints"]) == len(found["scores"]) == 6
    assert found["masks"][0]["size"] == [90, 120]
    only = inferencer(image, outputs=["masks"])["predictions"][0]
    assert set(only) == FIELDS - {"keypoints", "keypoint_scores"}
    sample = inferencer(image, return_datasamples=True)["predictions"][0]
    assert sample.pred_instances.masks.shape == (6, 90, 120)
    written = inferencer(image, out_dir=tmp_path / "out", no_save_pred=False)
    assert written["predictions"][0] == found
    assert len(list((tmp_path / "out" / "vis").iterdir())) == 1


@pytest.mark.parametrize("missing", ["pipeline", "model", "merging"])
def test_half_an_augmentation_is_refused(cfg: Config, missing: str):
    plain = Config(cfg.to_dict())
    enable_tta(cfg)
    message = "merges only boxes"
    if missing == "merging":
        cfg.model.update(
            type="DetTTAModel", tta_cfg=dict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=5)
        )
    elif missing == "pipeline":
        cfg.test_dataloader.dataset.pipeline = plain.test_dataloader.dataset.pipeline
        message = "has no TestTimeAug, or|has no TestTimeAug: set both"
    else:
        cfg.model = plain.model
        message = "has TestTimeAug, but the model is a MaskRCNN"
    with pytest.raises(UserError, match=message):
        build(cfg)


def test_boxes_alone_may_be_merged_by_mmdets_model(cfg: Config, image: np.ndarray):
    cfg.model.roi_head.update(mask_head=None, mask_roi_extractor=None, keypoint_head=None,
                              keypoint_roi_extractor=None)  # fmt: skip
    enable_tta(cfg)
    cfg.model.update(
        type="DetTTAModel", tta_cfg=dict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=5)
    )
    assert len(build(cfg)(image)["predictions"][0]["scores"]) == 5


class Semi(SemiBaseDetector):
    def __init__(self, student: torch.nn.Module, predict_on: str) -> None:
        torch.nn.Module.__init__(self)
        self.student, self.teacher = student, torch.nn.Identity()
        self.semi_test_cfg = dict(predict_on=predict_on)


def test_the_detector_in_every_wrapper(cfg: Config):
    detector = MODELS.build(cfg.model)
    tracker = torch.nn.Module()
    tracker.detector = detector
    averaged = ExponentialMovingAverage(detector)
    assert without_wrappers(averaged) is averaged.module
    enable_tta(cfg)
    tta = MODELS.build(cfg.model)
    assert predicting_part(tta) is tta.module
    for wrapped in (detector, tracker, Semi(detector, "student")):
        assert predicting_part(wrapped) is detector
    assert predicting_part(Semi(detector, "teacher")) is not detector
    ddp = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    torch.nn.Module.__init__(ddp)
    ddp.module = detector
    assert predicting_part(ddp) is detector


@pytest.mark.parametrize(
    ("color", "backend"),
    [("color", "cv2"), ("color_ignore_orientation", "cv2"), ("color", "pillow"),
     ("color_ignore_orientation", "pillow"), ("unchanged", "cv2")],
)  # fmt: skip
def test_pictures_are_of_what_the_model_saw(cfg: Config, tmp_path: Path, color: str, backend: str):
    """A photo that lies on its side by EXIF: boxes, masks and the picture are in one frame."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:, :50] = (250, 120, 10)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    assert cv2.imread(str(tmp_path / "photo.png")).shape == (100, 60, 3)
    load = cfg.test_dataloader.dataset.pipeline[0]
    load.update(color_type=color, imdecode_backend=backend)
    cfg.visualizer = dict(type="InstanceVisualizer", least_side=0)
    torch.manual_seed(0)
    inferencer = MaskRInferencer(
        cfg, device="cpu", show_progress=False,
        visualizer=dict(type="InstanceVisualizer", least_side=0),
    )  # fmt: skip
    found = inferencer(
        str(tmp_path / "photo.png"), out_dir=tmp_path / "out", return_vis=True, pred_score_thr=1.0
    )
    expected = (100, 60) if color == "color" else (60, 100)
    assert tuple(found["predictions"][0]["masks"][0]["size"]) == expected
    assert found["visualization"][0].shape[:2] == expected
    drawn = cv2.imread(str(tmp_path / "out" / "vis" / "photo.png"))
    assert drawn.shape[:2] == expected
    assert (
        np.abs(found["visualization"][0].astype(int).reshape(-1, 3).max(0) - (250, 120, 10)).max()
        <= 1
    )
