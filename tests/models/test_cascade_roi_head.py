"""The cascade averages probabilities, and takes masks of its last stage."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from roi_head_cases import SAMPLES, sample
from torch import nn

from mmdet_maskr.engine.model_checks import check_mask_activation
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_paste import paste_masks
from mmdet_maskr.ops.mask_rle import RLEMasks


def mini(repo: Path) -> ConfigDict:
    return Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model


def options(repo: Path, **test_cfg) -> ConfigDict:
    """Three stages of the mini model's heads, class-agnostic boxes."""
    cfg = mini(repo)
    head = copy.deepcopy(cfg.roi_head)
    head.bbox_head.reg_class_agnostic = True
    train = copy.deepcopy(cfg.train_cfg.rcnn)
    test = dict(cfg.test_cfg.rcnn, score_thr=0.0, **test_cfg)
    return ConfigDict(
        head,
        type="AveragedCascadeRoIHead",
        num_stages=3,
        stage_loss_weights=[1, 1, 1],
        bbox_head=[head.bbox_head] * 3,
        train_cfg=[train] * 3,
        test_cfg=test,
    )


@pytest.fixture(scope="module")
def head(repo: Path) -> nn.Module:
    torch.manual_seed(0)
    built = MODELS.build(options(repo, convention="detectron2")).eval()
    for parameter in built.bbox_head.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return built


META = dict(img_shape=(96, 96), ori_shape=(48, 48), scale_factor=(2.0, 2.0))


def inputs() -> tuple[list[torch.Tensor], InstanceData]:
    generator = torch.Generator().manual_seed(2)
    x = [torch.randn(1, 64, s, s, generator=generator) for s in (24, 12, 6, 3)]
    corner = 60 * torch.rand(40, 2, generator=generator)
    boxes = torch.cat([corner, corner + 10 + 26 * torch.rand(40, 2, generator=generator)], 1)
    return x, InstanceData(bboxes=boxes)


def test_probabilities_are_averaged(head: nn.Module):
    """Stage by stage: heads on refined boxes, softmax, mean; boxes of the last stage."""
    x, proposals = inputs()
    with torch.no_grad():
        (found,) = head.predict_bbox(x, [META], [proposals], None)
        rois, total = bbox2roi([proposals.bboxes]), 0
        for stage in range(3):
            feats = head.bbox_roi_extractor[stage](x[:4], rois)
            logits, deltas = head.bbox_head[stage](feats)
            total = total + logits.softmax(-1) / 3
            boxes = head.bbox_head[stage].bbox_coder.decode(
                rois[:, 1:], deltas, max_shape=META["img_shape"]
            )
            rois = bbox2roi([boxes])
    torch.testing.assert_close(found.scores, total)
    torch.testing.assert_close(found.bboxes, boxes)


@pytest.mark.parametrize("rescale", [False, True])
def test_prediction(head: nn.Module, rescale: bool):
    x, proposals = inputs()
    with torch.no_grad():
        results = head.predict_bbox(x, [META], [proposals], head.test_cfg)
        assert len(results[0]) == 30
        plain = head.predict_bbox(x, [META], [proposals], head.test_cfg, rescale=True)
        torch.testing.assert_close(plain[0].bboxes * 2, results[0].bboxes)
        head.mask_head[0].conv_logits.bias.data += 100  # not asked
        boxes = results[0].bboxes.clone()
        (result,) = head.predict_mask(x, [META], results, rescale=rescale)
    size = 48 if rescale else 96
    assert result.masks.shape == (30, size, size)
    torch.testing.assert_close(result.bboxes, boxes / 2 if rescale else boxes)
    share = result.masks.float().mean()
    assert 0 < share < 0.5


def test_nothing_found(head: nn.Module):
    x, _ = inputs()
    empty = InstanceData(bboxes=torch.zeros(0, 4))
    results = head.predict_bbox(x, [META], [empty], head.test_cfg)
    assert results[0].bboxes.shape == (0, 4)
    assert head.predict_mask(x, [META], results)[0].masks.shape[0] == 0


def test_unknown_convention(repo: Path):
    with pytest.raises(UserError, match="convention must be one of"):
        MODELS.build(options(repo, convention="tf"))


@pytest.mark.parametrize("training", [False, True])
def test_losses_are_mmdets_in_both_modes(repo: Path, training: bool):
    """Logits are averaged nowhere but in predictions, which are the same in both modes, too."""
    ours = options(repo)
    head = MODELS.build(ours).train(training)
    theirs = MODELS.build(ConfigDict(ours, type="CascadeRoIHead")).train(training)
    theirs.load_state_dict(head.state_dict())
    x, proposals = inputs()
    losses = []
    for model in (head, theirs):
        torch.manual_seed(3)  # of the samplers
        losses.append(model.loss(x, [copy.deepcopy(proposals)], [sample(*SAMPLES[0])]))
    for name, expected in losses[1].items():
        torch.testing.assert_close(losses[0][name], expected, msg=name)
    with torch.no_grad():
        expected = head.eval().predict_bbox(x, [META], [proposals], None)[0].scores
        found = head.train(training).predict_bbox(x, [META], [proposals], None)[0].scores
    torch.testing.assert_close(found, expected)


def test_rles(repo: Path):
    """As 'dense' says, also of a batch in which nothing is found."""
    torch.manual_seed(0)
    model = MODELS.build(options(repo, mask_output="rle")).eval()
    x, proposals = inputs()
    nothing = InstanceData(bboxes=torch.zeros(0, 4))
    for given, count in ((proposals, 30), (nothing, 0)):
        with torch.no_grad():
            results = model.predict_bbox(x, [META], [given], model.test_cfg)
            dense = ConfigDict(model.test_cfg, mask_output="dense")
            (rle,) = model.predict_mask(x, [META], [copy.deepcopy(results[0])], rescale=True)
            model.test_cfg, wanted = dense, model.test_cfg
            (result,) = model.predict_mask(x, [META], results, rescale=True)
            model.test_cfg = wanted
        assert isinstance(rle.masks, RLEMasks) and isinstance(result.masks, torch.Tensor)
        assert rle.masks.shape == result.masks.shape == (count, 48, 48)
        assert (rle.masks.numpy() == result.masks.numpy()).all()


def test_mask_outputs_are_checked(repo: Path):
    with pytest.raises(UserError, match=r"mask_output must be one of .*'png'"):
        MODELS.build(options(repo, mask_output="png"))
    cfg = options(repo, mask_output="rle")
    cfg.mask_head.type = "FCNMaskHead"
    with pytest.raises(UserError, match=r"'rle' needs .*'ComposedMaskHead', not FCNMaskHead"):
        MODELS.build(cfg)
    cfg.test_cfg.mask_output = "dense"
    model = MODELS.build(cfg).eval()
    x, _ = inputs()
    empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    assert model.predict_mask(x, [META], [empty])[0].masks.shape[0] == 0


def test_softmax_masks(repo: Path):
    """mmdet's cascade takes sigmoids of the logits of all stages; the softmax is of them all."""
    cfg = options(repo, mask_thr_binary=1 / 7)  # 6 classes and background
    cfg.mask_head.activation = "softmax"
    cfg.mask_head.loss_mask = dict(type="CrossEntropyLoss")
    x, proposals = inputs()
    for kind in ("AveragedCascadeRoIHead", "CascadeRoIHead"):
        torch.manual_seed(0)
        model = MODELS.build(ConfigDict(cfg, type=kind)).eval()
        nn.init.normal_(model.mask_head[2].conv_logits.weight)  # masks that differ
        with torch.no_grad():
            results = model.predict_bbox(x, [META], [proposals], model.test_cfg)
            detector = nn.Module()
            detector.roi_head = model
            if kind == "CascadeRoIHead":
                with pytest.raises(UserError, match="AveragedCascadeRoIHead"):
                    model.predict_mask(x, [META], results)
                with pytest.raises(UserError, match="AveragedCascadeRoIHead"):
                    check_mask_activation(detector)  # before training
            else:
                check_mask_activation(detector)
                boxes = results[0].bboxes
                (result,) = model.predict_mask(x, [META], results, rescale=True)
                rois = bbox2roi([boxes])
                logits = model.mask_head[2](model.mask_roi_extractor[2](x, rois))
                own = logits.softmax(1)[torch.arange(30), result.labels]
                expected = paste_masks(own, boxes / 2, 48, 48, 1 / 7)
                assert (result.masks != expected).sum() <= 1e-3 * expected.sum()
                assert 0.01 < result.masks.float().mean() < 0.1  # parts of the boxes
