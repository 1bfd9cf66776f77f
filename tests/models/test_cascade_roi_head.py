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
from torch import nn

from mmdet_maskr.errors import UserError


def options(repo: Path, **test_cfg) -> ConfigDict:
    """Three stages of the mini model's heads, class-agnostic boxes."""
    cfg = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
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
