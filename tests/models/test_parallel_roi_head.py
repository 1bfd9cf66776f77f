"""The parallel head gives what mmdet's StandardRoIHead gives, and survives empty input."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData
from roi_head_cases import SAMPLES, SIZE, build, images, sample

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.roi_heads import parallel_roi_head


@pytest.fixture(scope="module")
def config(repo: Path) -> Config:
    return Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model


def test_losses_equal_standard_roi_head(config: Config):
    losses = []
    for roi_type in ("StandardRoIHead", "ParallelRoIHead"):
        model = build(config, type=roi_type)
        torch.manual_seed(3)  # of the samplers
        losses.append(model.loss(images(), [sample(*args) for args in SAMPLES]))
    assert losses[0].keys() == losses[1].keys()
    assert {"loss_cls", "loss_bbox", "loss_mask"} <= losses[1].keys()
    for name in losses[0]:
        if "rpn" not in name:
            torch.testing.assert_close(losses[0][name], losses[1][name], rtol=0, atol=0)


@pytest.mark.parametrize("sampler", ["RandomSampler", "OHEMSampler", "InstanceBalancedPosSampler"])
def test_proposals_are_used_and_left_as_standard_roi_head_does(config: Config, sampler: str):
    """Trackers read the proposals' priors after the loss; samplers may want scores and labels."""
    config = copy.deepcopy(config)
    config.train_cfg.rcnn.sampler.type = sampler
    found = {}
    for roi_type in ("StandardRoIHead", "ParallelRoIHead"):
        head = build(config, type=roi_type).roi_head
        seen = []
        for part in (head.bbox_assigner, head.bbox_sampler):
            _record(part, "assign" if part is head.bbox_assigner else "sample", seen)
        generator = torch.Generator().manual_seed(2)
        corner = torch.rand(50, 2, generator=generator) * 60
        boxes = torch.cat([corner, corner + 20], 1)
        proposals = [
            InstanceData(bboxes=boxes.clone(), scores=torch.rand(50), labels=torch.zeros(50).long())
            for _ in SAMPLES
        ]
        x = [torch.randn(2, 64, s, s, generator=generator) for s in (24, 12, 6, 3)]
        torch.manual_seed(3)
        losses = head.loss(x, proposals, [sample(*args) for args in SAMPLES])
        assert all(torch.equal(p.priors, boxes) and "bboxes" not in p for p in proposals)
        found[roi_type] = (seen, {name: loss.item() for name, loss in losses.items()})
    assert found["ParallelRoIHead"] == found["StandardRoIHead"]
    assert all({"priors", "scores", "labels"} <= set(keys) for keys in seen) and len(seen) == 4


def _record(part: object, name: str, seen: list) -> None:
    """Note the fields of the proposals that a method gets."""
    method = getattr(part, name)

    def noted(*args, **kwargs):
        seen.append(next(sorted(a.keys()) for a in args if "priors" in dir(a)))
        return method(*args, **kwargs)

    setattr(part, name, noted)


@pytest.mark.parametrize("rescale", [False, True])
def test_predictions_equal_standard_roi_head(config: Config, rescale: bool):
    config = copy.deepcopy(config)
    config.test_cfg.rcnn.score_thr = 0.1
    results = []
    for roi_type in ("StandardRoIHead", "ParallelRoIHead"):
        model = build(config, type=roi_type).eval()
        with torch.no_grad():
            data = [sample(*args, scale=0.75) for args in SAMPLES]
            results.append([s.pred_instances for s in model.predict(images(), data, rescale)])
    for standard, ours in zip(*results, strict=True):
        assert len(ours) > 0
        assert (
            sorted(ours.keys())
            == sorted(standard.keys())
            == sorted(["bboxes", "scores", "labels", "masks"])
        )
        for name in ours.keys():
            assert torch.equal(getattr(ours, name), getattr(standard, name)), name


def test_masks_of_a_crowd_take_the_memory_of_a_few(config: Config, monkeypatch: pytest.MonkeyPatch):
    """RoIs go through the mask branch some at a time, over images, and the masks are the same."""
    config = copy.deepcopy(config)
    config.test_cfg.rcnn.score_thr = 0.0
    model = build(config, type="ParallelRoIHead").eval()
    forward, seen = model.roi_head._mask_forward, []

    def counted(x, rois, labels):
        seen.append(len(rois))
        return forward(x, rois, labels=labels)

    monkeypatch.setattr(model.roi_head, "_mask_forward", counted)
    found = []
    for step in (1000, 7):
        monkeypatch.setattr(parallel_roi_head, "ROIS_AT_ONCE", step)
        with torch.no_grad():
            data = [sample(*args) for args in SAMPLES]
            found.append([s.pred_instances.masks for s in model.predict(images(), data)])
    count = seen[0]
    assert count == sum(map(len, found[0])) > 7
    assert seen[1:] == [7] * (count // 7) + [count % 7] * (count % 7 > 0)
    for at_once, in_parts in zip(*found, strict=True):
        differing = (at_once != in_parts).sum().item()
        assert differing <= 1e-4 * at_once.numel()  # of sums in another order


def test_state_dict_has_the_names_of_mmdet(config: Config):
    standard = build(config, type="StandardRoIHead").state_dict()
    build(config).load_state_dict(standard, strict=True)


def test_branch_that_shares_the_box_features(config: Config):
    """Without a mask RoI extractor, the mask branch works on the box features of positive RoIs."""
    config = copy.deepcopy(config)
    config.train_cfg.rcnn.mask_size = 14  # 7 x 7 box features, upsampled once
    model = build(config, mask_roi_extractor=None)
    seen = []
    model.roi_head.mask_head.register_forward_hook(lambda head, x, y: seen.append(x[0]))
    samples = [sample(*args) for args in SAMPLES]
    losses = model.loss(images(), samples)
    assert torch.isfinite(losses["loss_mask"]) and losses["loss_mask"] > 0
    assert seen[0].shape[1:] == (64, 7, 7)
    assert 3 <= len(seen[0]) <= 32  # the ground truth at least, a quarter of 2 x 64 RoIs at most


@pytest.mark.parametrize("empty", ["all", "one"])
def test_images_without_ground_truth(config: Config, empty: str):
    """Every parameter gets a gradient, and losses of absent objects are zero."""
    model = build(config)
    samples = [sample([], []), sample([], []) if empty == "all" else sample(*SAMPLES[1])]
    losses = model.loss(images(), samples)
    if empty == "all":
        assert losses["loss_mask"] == 0 and losses["loss_bbox"] == 0
    total = sum(sum(v) if isinstance(v, list) else v for k, v in losses.items() if "loss" in k)
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_no_detections(config: Config):
    config = copy.deepcopy(config)
    config.test_cfg.rcnn.score_thr = 1.0
    model = build(config).eval()
    with torch.no_grad():
        results = model.predict(images(), [sample(*args, scale=0.5) for args in SAMPLES])
    for result in results:
        assert result.pred_instances.bboxes.shape == (0, 4)
        assert result.pred_instances.masks.shape == (0, 2 * SIZE, 2 * SIZE)


def test_box_branch_alone(config: Config):
    model = build(config, mask_head=None, mask_roi_extractor=None)
    assert model.roi_head.active_branches == []
    losses = model.loss(images(), [sample(*args) for args in SAMPLES])
    assert "loss_mask" not in losses
    with torch.no_grad():
        model.eval().predict(images(), [sample(*args) for args in SAMPLES])


def test_a_further_branch_sees_boxes_at_network_scale(config: Config):
    """A new branch needs its three members only, and mmdet's mask head does not move its boxes."""
    from mmdet_maskr.models import ParallelRoIHead

    seen = {}

    class WithExtra(ParallelRoIHead):
        instance_branches = ("mask", "extra")
        with_extra = True

        def extra_loss(self, x, sampling_results, bbox_feats, batch_gt_instances):
            return dict(loss_extra=dict(loss_extra=bbox_feats.sum() * 0 + len(sampling_results)))

        def predict_extra(self, x, batch_img_metas, results_list, rescale):
            for i, result in enumerate(results_list):
                seen[i] = result.bboxes.clone()
                result.extra = torch.ones(len(result))
            return results_list

    MODELS.register_module(name="WithExtra", module=WithExtra, force=True)
    config = copy.deepcopy(config)
    config.test_cfg.rcnn.score_thr = 0.1
    model = build(config, type="WithExtra")
    losses = model.loss(images(), [sample(*args) for args in SAMPLES])
    assert losses["loss_extra"] == 2
    model.eval()
    with torch.no_grad():
        results = model.predict(images(), [sample(*args, scale=0.75) for args in SAMPLES])
    for i, result in enumerate(results):
        assert len(result.pred_instances.extra) == len(result.pred_instances.bboxes) > 0
        torch.testing.assert_close(result.pred_instances.bboxes, seen[i] / 0.75)


def test_without_box_head(config: Config):
    with pytest.raises(UserError, match=r"needs roi_head\.bbox_head"):
        build(config, bbox_head=None)
