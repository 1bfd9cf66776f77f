"""The RPN's losses at sampled anchors, and its proposals of a batch, equal those of mmdet."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.models import SampledRPNHead

SIZES = (24, 12, 6, 3)  # maps of an image of 96 x 96 pixels
OBJECTS = (3, 0, 5)  # of each image
PADDED = [(96, 96), (64, 96), (96, 80)]  # height, width of each image without the batch's padding


def pair(repo: Path, **changes) -> tuple[RPNHead, SampledRPNHead]:
    """mmdet's head and ours with the same weights."""
    cfg = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    options = dict(
        cfg.rpn_head, num_classes=1, train_cfg=cfg.train_cfg.rpn, test_cfg=cfg.test_cfg.rpn
    )
    options = ConfigDict(copy.deepcopy(options))
    for key, value in changes.items():
        target = options
        *path, last = key.split("__")
        for part in path:
            target = target[part]
        target[last] = value
    heads = []
    for name in ("RPNHead", "SampledRPNHead"):
        torch.manual_seed(0)
        heads.append(MODELS.build(dict(copy.deepcopy(options), type=name)).train())
    return tuple(heads)


def features(seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 64, s, s, generator=generator) for s in SIZES]


def metas() -> list[dict]:
    return [dict(img_shape=s, pad_shape=s, scale_factor=(1.0, 1.0)) for s in PADDED]


def ground_truths() -> list[InstanceData]:
    generator = torch.Generator().manual_seed(2)
    found = []
    for count in OBJECTS:
        corner = torch.rand(count, 2, generator=generator) * 50
        side = 8 + 30 * torch.rand(count, 2, generator=generator)
        boxes = torch.cat([corner, corner + side], 1)
        found.append(InstanceData(bboxes=boxes, labels=torch.zeros(count, dtype=torch.long)))
    return found


def losses(head: RPNHead, ignored: list[InstanceData] | None) -> tuple[dict, list[Tensor]]:
    """Loss by name, summed over levels, and the gradients of weights and features."""
    x = [level.requires_grad_() for level in features()]
    torch.manual_seed(7)  # of the sampler
    found = head.loss_by_feat(*head(x), ground_truths(), metas(), ignored)
    found = {k: sum(v) if isinstance(v, (list, tuple)) else v for k, v in found.items()}
    tensors = [*head.parameters(), *x]
    return found, torch.autograd.grad(sum(found.values()), tensors)


def test_losses_have_mmdets_form(repo: Path):
    """Lists of scalars, which callers sum over levels; trackers and mmdet's own tests do."""
    for head in pair(repo):
        found = head.loss_by_feat(*head(features()), ground_truths(), metas(), None)
        assert set(found) == {"loss_rpn_cls", "loss_rpn_bbox"}
        for loss in found.values():
            assert isinstance(loss, list) and all(term.shape == () for term in loss)


CASES = dict(
    default=dict(),
    border=dict(train_cfg__allowed_border=0),
    positive_weight=dict(train_cfg__pos_weight=3.0),
    decoded=dict(reg_decoded_bbox=True, loss_bbox=dict(type="GIoULoss", loss_weight=2.0)),
    softmax=dict(loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False)),
    smooth=dict(loss_bbox=dict(type="SmoothL1Loss", beta=0.1)),
    ignoring=dict(train_cfg__assigner__ignore_iof_thr=0.3),
    two_layers=dict(num_convs=2),  # autograd's own backward pass
)


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_equal_mmdet(repo: Path, name: str):
    """Images of several sizes, one of them without an object; the same random draws."""
    stock, ours = pair(repo, **CASES[name])
    ignored = None
    if name == "ignoring":
        region = InstanceData(bboxes=torch.tensor([[0.0, 0, 48, 48]]))
        ignored = [region, region, InstanceData(bboxes=torch.zeros(0, 4))]
    expected, expected_grads = losses(stock, ignored)
    found, grads = losses(ours, ignored)
    assert set(found) == set(expected)
    for key in found:
        assert expected[key] > 0
        torch.testing.assert_close(found[key], expected[key], rtol=1e-5, atol=1e-6)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-4, atol=1e-6)


def test_each_option_matters(repo: Path):
    """The comparison above would say nothing if the cases gave the same losses."""
    totals = {}
    for name in ("default", "border", "positive_weight", "decoded", "softmax", "smooth"):
        found, _ = losses(pair(repo, **CASES[name])[1], None)
        totals[name] = round(sum(found.values()).item(), 5)
    assert len(set(totals.values())) == len(totals), totals


def test_samples_are_there_for_heads_that_need_them(repo: Path):
    _, head = pair(repo)
    losses(head, None)
    samples = head._raw_positive_infos["sampling_results"]
    assert [len(sample.pos_inds) > 0 for sample in samples] == [True, False, True]


def test_no_anchor_inside_the_image(repo: Path):
    _, head = pair(repo, train_cfg__allowed_border=0)
    head.prior_generator.base_anchors = [b * 100 for b in head.prior_generator.base_anchors]
    with pytest.raises(UserError, match=r"\(96, 96\).*allowed_border=-1"):
        losses(head, None)


@pytest.mark.parametrize("shapes", [PADDED, [(96, 96)] * 3])
@pytest.mark.parametrize("nms_pre", [-1, 20, 100000])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_proposals_of_a_batch_equal_mmdet(repo: Path, sigmoid: bool, nms_pre: int, shapes):
    """For each image its own, cut at its own borders."""
    stock, ours = pair(repo, loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=sigmoid))
    cfg = ConfigDict(ours.test_cfg, nms_pre=nms_pre, max_per_img=40)
    batch = [dict(img_shape=shape, scale_factor=(1.0, 1.0)) for shape in shapes]
    with torch.no_grad():
        expected, found = (
            head.predict_by_feat(*head(features()), batch_img_metas=batch, cfg=cfg)
            for head in (stock, ours)
        )
    assert len(found) == 3
    for image, expected_image, (height, width) in zip(found, expected, shapes, strict=True):
        assert len(image) == 40
        assert image.bboxes[:, 3].max() <= height and image.bboxes[:, 2].max() <= width
        for name in ("bboxes", "scores", "labels"):
            torch.testing.assert_close(image[name], expected_image[name], rtol=0, atol=1e-5)
