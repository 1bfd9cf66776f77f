"""Test-time augmentation of boxes, masks and keypoints undoes what was done to the image."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from roi_head_cases import SIZE, build

from mmdet_maskr.errors import UserError
from mmdet_maskr.models import InstanceTTAModel

SWAPS = [0, 2, 1]
DIRECTIONS = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


@pytest.fixture(scope="module")
def config(repo: Path) -> Config:
    """The mini model with three keypoints of which two swap, and few but clear detections."""
    model = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    model.test_cfg.rcnn.update(score_thr=0.1, max_per_img=10)
    extractor = copy.deepcopy(model.roi_head.mask_roi_extractor)
    head = dict(
        type="HeatmapKeypointHead",
        num_keypoints=3,
        num_convs=1,
        in_channels=64,
        conv_out_channels=16,
    )
    model.roi_head.update(keypoint_head=head, keypoint_roi_extractor=extractor)
    return model


@pytest.fixture
def model(config: Config):
    return build(config).eval()


def image() -> torch.Tensor:
    """Smooth colors and a few rectangles, (3, SIZE, SIZE) uint8."""
    grid = torch.linspace(0, 200, SIZE)
    picture = torch.stack([grid.expand(SIZE, SIZE), grid[:, None].expand(SIZE, SIZE)])
    picture = torch.cat([picture, picture.flip(0)[:1]])
    picture[:, 20:50, 30:80] = torch.tensor([250.0, 30, 90])[:, None, None]
    picture[:, 60:85, 10:40] = torch.tensor([20.0, 240, 60])[:, None, None]
    return picture.to(torch.uint8)


def form(picture: torch.Tensor, flip: str | None = None, scale: float = 1.0) -> tuple:
    """One form of an image, as a pipeline gives it: the image, its data sample."""
    size = round(SIZE * scale)
    resized = torch.nn.functional.interpolate(picture[None].float(), size=(size, size))[0]
    resized = resized.to(torch.uint8)
    data = DetDataSample(
        metainfo=dict(
            img_shape=(size, size),
            ori_shape=(SIZE, SIZE),
            scale_factor=(scale, scale),
            flip=flip is not None,
            flip_direction=flip,
            keypoint_flip_indices=SWAPS,
        )
    )
    return (resized if flip is None else resized.flip(DIRECTIONS[flip])), data


def tta(model, *forms: tuple, **options: object):
    """Merged instances of one image, seen in ``forms``."""
    data = dict(inputs=[[f[0]] for f in forms], data_samples=[[f[1]] for f in forms])
    return InstanceTTAModel(module=model, **options).test_step(data)[0].pred_instances


def plain(model, picture: torch.Tensor):
    """The model's own prediction."""
    inputs, data = form(picture)
    with torch.no_grad():
        return model.test_step(dict(inputs=[inputs], data_samples=[data]))[0].pred_instances


def mirrored(points: torch.Tensor, direction: str) -> torch.Tensor:
    """Points (..., 2) of the image flipped by ``direction``."""
    sides = points.clone()
    if direction in ("horizontal", "diagonal"):
        sides[..., 0] = SIZE - sides[..., 0]
    if direction in ("vertical", "diagonal"):
        sides[..., 1] = SIZE - sides[..., 1]
    return sides


def assert_same(a, b, keypoints: bool = True) -> None:
    assert len(a) == len(b) > 0
    for name in ("bboxes", "scores", "labels"):
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-3)
    assert (a.masks != b.masks).float().mean() < 1e-3
    if keypoints:
        torch.testing.assert_close(a.keypoint_scores, b.keypoint_scores, rtol=1e-3, atol=1e-5)
        close = (a.keypoints - b.keypoints).abs().amax(-1) < 0.02
        assert close.float().mean() > 0.95, "but for ties between two cells"


def test_one_form_is_the_plain_prediction(model):
    assert_same(tta(model, form(image())), plain(model, image()))


def test_the_same_form_twice_changes_nothing(model):
    assert_same(tta(model, form(image()), form(image())), plain(model, image()))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_flips_are_undone(model, direction: str):
    """A form that is flipped gives what the model sees in the flipped image, flipped back."""
    found = tta(model, form(image(), flip=direction))
    expected = plain(model, image().flip(DIRECTIONS[direction]))
    corners = mirrored(expected.bboxes.view(-1, 2, 2), direction)
    expected.bboxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    expected.masks = expected.masks.flip(DIRECTIONS[direction])
    expected.keypoints = mirrored(expected.keypoints, direction)
    if direction != "diagonal":
        expected.keypoints = expected.keypoints[:, SWAPS]
        expected.keypoint_scores = expected.keypoint_scores[:, SWAPS]
    assert_same(found, expected)


def test_sizes_and_flips_are_merged_in_the_original_image(model):
    forms = [form(image(), flip, scale) for scale in (1.0, 1.5) for flip in (None, "horizontal")]
    found = tta(model, *forms)
    assert 0 < len(found) <= 10
    assert found.masks.shape == (len(found), SIZE, SIZE)
    assert (found.bboxes >= -1e-3).all() and (found.bboxes <= SIZE + 1e-3).all()
    low, high = found.bboxes[:, None, :2], found.bboxes[:, None, 2:]
    assert ((found.keypoints >= low) & (found.keypoints <= torch.maximum(high, low + 1))).all()
    alone = plain(model, image())
    assert not torch.equal(found.scores[:1], alone.scores[:1])


def test_masks_are_the_mean_of_the_probabilities(model, monkeypatch: pytest.MonkeyPatch):
    """Probabilities 0.9 and 0.3 are a mean of 0.6, above the threshold; logits would not be."""
    head = model.roi_head.mask_head
    values = iter([0.9, 0.3, 0.9, 0.0])
    monkeypatch.setattr(
        head.predictor, "probabilities", lambda logits, _: logits[:, 0] * 0 + next(values)
    )
    inside = tta(model, form(image()), form(image())).masks
    assert inside.flatten(1).any(1).all()
    assert not tta(model, form(image()), form(image())).masks.any()


def test_own_limit_of_detections(model):
    assert len(tta(model, form(image()), tta_cfg=dict(max_per_img=3))) == 3


def test_no_detections(config: Config):
    config = copy.deepcopy(config)
    config.test_cfg.rcnn.score_thr = 1.0
    found = tta(build(config).eval(), form(image()), form(image(), "horizontal"))
    assert found.bboxes.shape == (0, 4) and found.masks.shape == (0, SIZE, SIZE)
    assert found.keypoints.shape == (0, 3, 2)


def test_rle_masks(model):
    model.roi_head.test_cfg.mask_output = "rle"
    found = tta(model, form(image()), form(image(), "horizontal"))
    model.roi_head.test_cfg.mask_output = "dense"
    dense = tta(model, form(image()), form(image(), "horizontal"))
    assert (found.masks.numpy() == dense.masks.numpy()).all()


def test_another_roi_head(config: Config):
    config = copy.deepcopy(config)
    config.roi_head.type = "StandardRoIHead"
    for name in ("keypoint_head", "keypoint_roi_extractor"):
        config.roi_head.pop(name)
    with pytest.raises(UserError, match=r"roi_head\.type='ParallelRoIHead'.*StandardRoIHead"):
        InstanceTTAModel(module=build(config))


def test_another_mask_head(config: Config):
    config = copy.deepcopy(config)
    config.roi_head.mask_head.type = "FCNMaskHead"
    with pytest.raises(UserError, match=r"type='ComposedMaskHead', not FCNMaskHead"):
        InstanceTTAModel(module=build(config))


def test_flips_without_swaps(model):
    inputs, data = form(image(), "horizontal")
    del data.keypoint_flip_indices
    with pytest.raises(UserError, match=r"need 'keypoint_flip_indices' among the meta_keys"):
        tta(model, (inputs, data))
