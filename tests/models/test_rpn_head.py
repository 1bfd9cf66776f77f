"""NMS by pyramid level keeps the proposals, and their order, of mmcv's batched form."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms
from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData

from mmdet_maskr.benchmark.pretended_gpu import Counts, on_gpu, real
from mmdet_maskr.models import SampledRPNHead
from mmdet_maskr.models.dense_heads import rpn_head
from mmdet_maskr.ops.nms import nms_per_level

NMS = dict(type="nms", iou_threshold=0.7)


def proposals(count: int, levels: int = 5, ties: bool = False, seed: int = 0) -> InstanceData:
    """Crowded boxes of an image of 320 x 240 pixels, a few of them empty."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * torch.tensor([320.0, 240])
    center = center[torch.randint(max(1, count // 8), (count,), generator=generator)]
    half = 10 + 30 * torch.rand(count, 2, generator=generator)
    half[::50] = 0
    boxes = torch.cat([center - half, center + half], 1)
    boxes = boxes.clamp(min=0).minimum(torch.tensor([320.0, 240, 320, 240]))
    scores = torch.rand(count, generator=generator)
    if ties:
        scores = (scores * 20).round() / 20
    level_ids = torch.randint(levels, (count,), generator=generator).sort().values
    return InstanceData(bboxes=boxes, scores=scores, level_ids=level_ids)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("levels", [1, 5])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 1.0])
def test_keeps_what_batched_nms_keeps(ties: bool, levels: int, threshold: float):
    for seed in range(5):
        data = proposals(1000, levels, ties, seed)
        args = (data.bboxes, data.scores, data.level_ids)
        _, expected = batched_nms(*args, dict(type="nms", iou_threshold=threshold))
        assert len(expected) < 1000 or threshold == 1.0
        for count in (1, 100, len(expected), 2000):
            assert torch.equal(nms_per_level(*args, threshold, count), expected[:count])


def test_overlaps_at_the_threshold_are_decided_as_by_batched_nms():
    """Moving the levels apart rounds coordinates; here that decides, so it must be done alike."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.arange(400.0)[:, None] * torch.tensor([3.3, 0]) + 0.1
    side = 20 + 80 * torch.rand(400, 1, generator=generator)
    whole = torch.cat([corner, corner + side], 1)
    part = whole.clone()  # 70 % of the height, give or take rounding
    part[:, 3:] = part[:, 1:2] + side * (0.7 + 1e-6 * torch.randn(400, 1, generator=generator))
    boxes = torch.stack([whole, part], 1).view(-1, 4)
    level_ids = torch.arange(800) // 2 % 5
    scores = torch.linspace(1, 0, 800)
    _, expected = batched_nms(boxes, scores, level_ids, NMS)
    assert torch.equal(nms_per_level(boxes, scores, level_ids, 0.7, 800), expected)
    unmoved = [nms(boxes[level_ids == i], scores[level_ids == i], 0.7)[1] for i in range(5)]
    assert sum(len(kept) for kept in unmoved) != len(expected)


@pytest.fixture(scope="module")
def heads(repo: Path) -> tuple[RPNHead, SampledRPNHead]:
    cfg = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    options = dict(
        cfg.rpn_head, num_classes=1, train_cfg=cfg.train_cfg.rpn, test_cfg=cfg.test_cfg.rpn
    )
    built = []
    for name in ("RPNHead", "SampledRPNHead"):
        torch.manual_seed(0)
        built.append(MODELS.build(dict(copy.deepcopy(options), type=name)))
    return tuple(built)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(min_bbox_size=25),
        dict(max_per_img=7),
        dict(nms=dict(type="nms", iou_threshold=0.3, max_num=40)),
        dict(nms=dict(type="soft_nms", iou_threshold=0.5, min_score=0.05)),
        dict(nms=None),
    ],
)
def test_proposals_equal_mmdet(heads, options: dict, ties: bool):
    """Boxes, scores and order, with every option of NMS, whether it goes by level or not."""
    cfg = ConfigDict({**dict(nms=NMS, max_per_img=500, min_bbox_size=0), **options})
    before = copy.deepcopy(cfg)
    expected, ours = (
        head._bbox_post_process(proposals(1500, ties=ties), cfg, img_meta={}) for head in heads
    )
    assert cfg == before
    assert 0 < len(ours) == len(expected)
    assert sorted(ours.keys()) == sorted(expected.keys())
    for name in ours.keys():
        assert torch.equal(ours[name], expected[name]), name


def test_no_proposals(heads):
    cfg = ConfigDict(nms=NMS, max_per_img=5, min_bbox_size=0)
    for data in (proposals(0), proposals(1)):  # the one is empty
        result = heads[1]._bbox_post_process(data, cfg, img_meta={})
        assert result.bboxes.shape == (0, 4) and result.scores.shape == (0,)


def test_prediction_equals_mmdet(heads, monkeypatch: pytest.MonkeyPatch):
    """From features on; and NMS did go by level."""
    calls = []
    original = rpn_head.nms_per_level
    monkeypatch.setattr(rpn_head, "nms_per_level", lambda *args: calls.append(1) or original(*args))
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(1, 64, s, s, generator=generator) for s in (24, 12, 6, 3)]
    meta = dict(img_shape=(96, 96), scale_factor=(1.0, 1.0))
    with torch.no_grad():
        expected, ours = (
            head.predict_by_feat(*head(x), batch_img_metas=[meta], cfg=head.test_cfg)[0]
            for head in heads
        )
    assert calls == [1]
    assert len(ours) > 10
    assert torch.equal(ours.bboxes, expected.bboxes) and torch.equal(ours.scores, expected.scores)


@pytest.mark.parametrize("convention", ["mmdet", "detectron2"])
@pytest.mark.parametrize("second", [(96, 96), (80, 96)])
def test_sizes_of_images_come_as_any_sequence(heads, convention: str, second: tuple):
    """mmdet's own test data has lists; whether the images' sizes differ matters inside."""
    head = heads[1]
    x = [torch.randn(2, 64, s, s, generator=torch.manual_seed(1)) for s in (24, 12, 6, 3)]
    cfg = ConfigDict(head.test_cfg, convention=convention)
    results = []
    for kind in (tuple, list, np.array, torch.Size):
        metas = [
            dict(img_shape=kind(shape), scale_factor=(1.0, 1.0)) for shape in ((96, 96), second)
        ]
        with torch.no_grad():
            found = head.predict_by_feat(*head(x), batch_img_metas=metas, cfg=cfg)
        results.append(torch.cat([each.bboxes for each in found]))
    assert all(torch.equal(boxes, results[0]) for boxes in results) and len(results[0]) > 20


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_features_come_as_any_iterable(heads, device: str, pretended_gpu: Counts):
    """mmdet's own tests give a generator."""
    head = copy.deepcopy(heads[1]).train()
    if device == "cuda":
        on_gpu(head)
    maps = [torch.randn(1, 64, s, s).to(device) for s in (24, 12, 6, 3)]
    truth = InstanceData(bboxes=torch.tensor([[10.0, 10, 60, 70]]), labels=torch.zeros(1).long())
    sample = DetDataSample(
        metainfo=dict(img_shape=(96, 96), pad_shape=(96, 96)), gt_instances=truth.to(device)
    )
    found = []
    for kind in (tuple, iter):
        logits, _ = head(kind(maps))
        torch.manual_seed(0)  # which anchors are drawn
        losses, boxes = head.loss_and_predict(kind(maps), [sample], head.test_cfg)
        torch.manual_seed(0)
        same = head.loss(kind(maps), [sample])
        sums = [losses["loss_rpn_cls"][0], losses["loss_rpn_bbox"][0], same["loss_rpn_cls"][0]]
        found.append([*map(real, [*logits, *sums]), real(boxes[0].bboxes)])
    assert len(found[0]) == 8 and found[0][4] == found[0][6] > 0 and len(found[0][-1]) > 10
    for own, expected in zip(found[1], found[0], strict=True):
        assert torch.equal(own, expected)
