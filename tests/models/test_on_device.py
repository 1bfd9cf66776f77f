"""What a GPU does in another way than a CPU: the same results, and no wait where none is needed.

It is there in pretence: ``tensor.to("cuda")``.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.models.losses import accuracy
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.benchmark.pretended_gpu import Counts, on_gpu, real
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import BatchedDataPreprocessor
from mmdet_maskr.models.dense_heads.anchor_grids import AnchorGrids
from mmdet_maskr.models.roi_extractors import LevelRoIExtractor
from mmdet_maskr.models.roi_heads import box_loss, device_detections, device_samples
from mmdet_maskr.models.task_modules import box_coding, device_sampling, matching
from mmdet_maskr.ops.boxes import rois_of
from mmdet_maskr.ops.constants import counting
from mmdet_maskr.ops.keypoint_decode import decode_heatmaps
from mmdet_maskr.ops.late_checks import late_checks, read, require
from mmdet_maskr.ops.nms import nms_of_batch, nms_per_level


def boxes_of(count: int, side: float = 100.0, whole: bool = False) -> Tensor:
    corner = torch.rand(count, 2) * side
    boxes = torch.cat([corner, corner + torch.rand(count, 2) * side / 2 + 1], 1)
    return boxes.round() if whole else boxes  # whole numbers make ties


RPN = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, ignore_iof_thr=-1)
RCNN = dict(
    pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False, ignore_iof_thr=-1
)


@pytest.mark.parametrize(
    "options",
    [
        RPN,
        RCNN,
        dict(RPN, ignore_iof_thr=0.3),
        dict(RCNN, ignore_iof_thr=0.3, ignore_wrt_candidates=False),
        dict(RPN, gt_max_assign_all=False, min_pos_iou=0.0),
        dict(RPN, neg_iou_thr=(0.1, 0.3)),
        dict(RPN, min_pos_iou=0.0),
    ],
    ids=str,
)
def test_matches_are_those_of_mmdet(options: dict):
    """30 batches of four images each, with ties, none, and ignored boxes."""
    assigner = MaxIoUAssigner(**options)
    assert matching.is_standard(assigner)
    for case in range(30):
        torch.manual_seed(case)
        boxes = boxes_of(60, whole=case % 2 == 0)
        truths = [boxes_of(n, whole=case % 2 == 0) for n in (5, 0, 1, case % 7)]
        ignored = [boxes_of(2), boxes_of(3), torch.zeros(0, 4), None]
        found = matching.match(assigner, boxes, truths, ignored)
        for row, truth, out in zip(found, truths, ignored, strict=True):
            gt = InstanceData(bboxes=truth, labels=torch.zeros(len(truth), dtype=torch.long))
            none = None if out is None else InstanceData(bboxes=out)
            expected = assigner.assign(InstanceData(priors=boxes), gt, none).gt_inds
            torch.testing.assert_close(row, expected, rtol=0, atol=0)


def test_matches_among_the_anchors_that_count(monkeypatch: pytest.MonkeyPatch):
    """As mmdet's, which sees no others; the images one by one give the same."""
    assigner = MaxIoUAssigner(**RPN)
    boxes, truths = boxes_of(80), [boxes_of(4), boxes_of(0), boxes_of(9)]
    counts = [torch.rand(80) > 0.5, torch.rand(80) > 0.5, None]
    found = matching.match(assigner, boxes, truths, [None] * 3, counts)
    for row, truth, own in zip(found, truths, counts, strict=True):
        own = torch.ones(80, dtype=torch.bool) if own is None else own
        gt = InstanceData(bboxes=truth, labels=torch.zeros(len(truth), dtype=torch.long))
        expected = assigner.assign(InstanceData(priors=boxes[own]), gt).gt_inds
        torch.testing.assert_close(row[own], expected, rtol=0, atol=0)
        assert (row[~own] == matching.IGNORED).all()
    monkeypatch.setattr(matching, "MOST_OVERLAPS", 10)
    again = matching.match(assigner, boxes, truths, [None] * 3, counts)
    torch.testing.assert_close(again, found, rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        dict(gpu_assign_thr=100),
        dict(iou_calculator=dict(type="BboxOverlaps2D", dtype="fp16")),
        dict(perm_repeat_gt_cfg=dict(iou_thr=0.7, perm_range=0.01)),
    ],
    ids=str,
)
def test_other_assigners_are_asked_themselves(change: dict):
    assert not matching.is_standard(MaxIoUAssigner(**RPN, **change))


@pytest.mark.parametrize(("positives", "negatives"), [(10, 300), (3, 300), (40, 5), (0, 50)])
def test_samples_are_as_many_as_of_mmdet(positives: int, negatives: int):
    """And of the right kind, none twice."""
    for bound in (-1, 3):
        sampler = RandomSampler(32, 0.25, neg_pos_ub=bound, add_gt_as_proposals=False)
        assert device_sampling.is_standard(sampler)
        kinds = [1] * positives + [0] * negatives + [-1] * 20
        matched = torch.tensor([kinds, kinds])[:, torch.randperm(len(kinds))]
        drawn = device_sampling.draw(sampler, matched)
        most = sampler._sample_pos(SimpleNamespace(gt_inds=matched[0]), 8)
        wanted = 32 - len(most)
        if bound >= 0:
            wanted = min(wanted, bound * max(1, len(most)))
        least = sampler._sample_neg(SimpleNamespace(gt_inds=matched[0]), wanted)
        assert drawn.positives.tolist() == [len(most)] * 2
        assert drawn.negatives.tolist() == [len(least)] * 2
        for row, own, other in zip(matched, drawn.positive, drawn.negative, strict=True):
            own, other = own[: len(most)], other[: len(least)]
            assert (row[own] == 1).all()
            assert (row[other] == 0).all()
            assert len(own.unique()) == len(own)
            assert len(other.unique()) == len(other)
        assert drawn.counting().sum(1).tolist() == [len(most) + len(least)] * 2


def test_samples_are_uniform():
    """Each of 20 positive and 60 negative candidates as often as any, within five deviations."""
    sampler = RandomSampler(16, 0.5, add_gt_as_proposals=False)
    matched = torch.tensor([1] * 20 + [0] * 60).repeat(4000, 1)
    drawn = device_sampling.draw(sampler, matched)
    for index, number, candidates in ((drawn.positive, 8, 20), (drawn.negative, 8, 60)):
        times = torch.bincount(index[:, :number].flatten(), minlength=80)
        times = times[times > 0].double()
        assert len(times) == candidates
        share = number / candidates
        deviation = (4000 * share * (1 - share)) ** 0.5
        assert (times - 4000 * share).abs().max() < 5 * deviation


def test_sampled_rois(pretended_gpu: Counts):
    """What is said of each RoI is what mmdet's sampler says of it; one wait for the batch."""
    assigner, sampler = MaxIoUAssigner(**RCNN), RandomSampler(24, 0.5)
    truths = [boxes_of(5), boxes_of(0), boxes_of(2)]
    gts = [InstanceData(bboxes=t, labels=torch.arange(len(t))) for t in truths]
    proposals = [
        torch.cat([t.repeat(4, 1) + torch.randn(4 * len(t), 4), boxes_of(30)]) for t in truths
    ]
    none = [InstanceData(bboxes=torch.zeros(0, 4)) for _ in truths]
    on_device = [
        [p.to("cuda") for p in proposals],
        *([g.to("cuda") for g in each] for each in (gts, none)),
    ]
    assert device_samples.suits(assigner, sampler, on_device[0])
    assert not device_samples.suits(assigner, sampler, proposals)
    device_samples.sample(assigner, sampler, *on_device)  # constants go there once
    pretended_gpu.clear()
    found = device_samples.sample(assigner, sampler, *on_device)
    assert pretended_gpu.totals()["syncs"] == 1
    assert pretended_gpu.totals()["copies"] == 0
    for own, gt, boxes in zip(found, gts, proposals, strict=True):
        candidates = torch.cat([gt.bboxes, boxes])
        assigned = assigner.assign(InstanceData(priors=boxes), gt)
        assigned.add_gt_(gt.labels)
        positive, negative = real(own.pos_inds), real(own.neg_inds)
        assert len(positive) == min(12, int((assigned.gt_inds > 0).sum()))
        assert len(negative) == 24 - len(positive)
        torch.testing.assert_close(real(own.pos_priors), candidates[positive])
        torch.testing.assert_close(real(own.neg_priors), candidates[negative])
        assert (assigned.gt_inds[negative] == 0).all()
        index = assigned.gt_inds[positive] - 1
        torch.testing.assert_close(real(own.pos_assigned_gt_inds), index)
        torch.testing.assert_close(real(own.pos_gt_bboxes), gt.bboxes[index])
        torch.testing.assert_close(real(own.pos_gt_labels), gt.labels[index])
        assert (real(own.pos_is_gt).bool() == (positive < len(gt.bboxes))).all()
        assert own.num_gts == len(gt.bboxes)


@pytest.mark.parametrize("means", [(0.0, 0.0, 0.0, 0.0), (0.1, 0.0, -0.2, 0.0)])
def test_box_coding(means: tuple[float, ...]):
    coder = DeltaXYWHBBoxCoder(means, (0.1, 0.1, 0.2, 0.2))
    boxes, targets = boxes_of(40), boxes_of(40)
    deltas = box_coding.encode(coder, boxes, targets)
    torch.testing.assert_close(deltas, coder.encode(boxes, targets), rtol=0, atol=0)
    for shape in (None, (90, 70)):
        found = box_coding.decode(coder, boxes, 5 * deltas, shape)
        expected = coder.decode(boxes, 5 * deltas, max_shape=shape)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("pos_weight", [-1, 2.0])
@pytest.mark.parametrize("positives", [3, 0])
def test_box_losses(agnostic: bool, pos_weight: float, positives: int):
    """Those of mmdet's head, with the same gradients."""
    head = MODELS.build(
        dict(type="Shared2FCBBoxHead", in_channels=4, fc_out_channels=8, roi_feat_size=2,
             num_classes=3, reg_class_agnostic=agnostic,
             loss_bbox=dict(type="SmoothL1Loss", beta=0.5, loss_weight=2.0))
    )  # fmt: skip
    assert box_loss.suits(head)
    samples = []
    for n in (positives, 0, 2 * positives):
        samples.append(
            SimpleNamespace(
                pos_priors=boxes_of(n), neg_priors=boxes_of(5), pos_gt_bboxes=boxes_of(n),
                pos_gt_labels=torch.randint(3, (n,)),
            )
        )  # fmt: skip
    total = 15 + 3 * positives
    scores = torch.randn(total, 4, requires_grad=True)
    deltas = torch.randn(total, 4 if agnostic else 12, requires_grad=True)
    cfg = ConfigDict(pos_weight=pos_weight)
    found = box_loss.box_losses(head, scores, deltas, samples, cfg)
    gradients = torch.autograd.grad(found["loss_cls"] + found["loss_bbox"], (scores, deltas))
    rois = torch.zeros(total, 5)
    expected = head.loss_and_target(scores, deltas, rois, samples, cfg)["loss_bbox"]
    wanted = torch.autograd.grad(expected["loss_cls"] + expected["loss_bbox"], (scores, deltas))
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name])
    for own, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(own, other)
    assert accuracy(scores, torch.zeros(total, dtype=torch.long)) is not None


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_rois_of_all_levels_without_a_wait(pretended_gpu: Counts, ratio: int, aligned: bool):
    """RoIs of other levels come from nowhere: zeros, bit by bit, and no gradients."""
    layer = dict(type="RoIAlign", output_size=3, sampling_ratio=ratio, aligned=aligned)
    extractor = LevelRoIExtractor(layer, 4, [4, 8, 16], finest_scale=20)
    maps = [torch.randn(2, 4, side, side, requires_grad=True) for side in (32, 16, 8)]
    rois = torch.cat([torch.randint(2, (20, 1)).float(), boxes_of(20, side=80)], 1)
    expected = extractor(maps, rois)
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad((expected * weights).sum(), maps)
    copies = [own.detach().to("cuda").requires_grad_() for own in maps]
    rois, weights = rois.to("cuda"), weights.to("cuda")
    extractor(copies, rois)
    pretended_gpu.clear()
    with late_checks():
        found = extractor(copies, rois)
        assert pretended_gpu.totals()["syncs"] == 0
    assert pretended_gpu.totals()["syncs"] == 1  # the checks
    torch.testing.assert_close(real(found), expected.detach())
    for own, other in zip(
        torch.autograd.grad((found * weights).sum(), copies), gradients, strict=True
    ):
        torch.testing.assert_close(real(own), other)


def test_checks_are_read_at_the_end(pretended_gpu: Counts):
    """The error is that of a check at once; of a bad RoI nothing is read meanwhile."""
    layer = dict(type="RoIAlign", output_size=3)
    extractor = LevelRoIExtractor(layer, 4, [4])
    maps, rois = [torch.randn(1, 4, 8, 8)], torch.tensor([[0.0, 1, 1, 9, 9], [7, 1, 1, 9, 9]])
    with pytest.raises(UserError) as at_once:
        extractor(maps, rois)
    reached = False
    with pytest.raises(UserError) as late, late_checks():
        extractor([own.to("cuda") for own in maps], rois.to("cuda"))
        reached = True
    assert reached
    assert str(late.value) == str(at_once.value)


def test_checks_on_a_cpu_are_made_at_once():
    def explain() -> None:
        raise UserError("bad")

    with late_checks():
        require(torch.tensor(True), explain)
        with pytest.raises(UserError):
            require(torch.tensor(False), explain)


def test_anchors_are_the_generators(pretended_gpu: Counts):
    """Of maps of any size, from grids that grow; without a copy once they are there."""
    generator = dict(type="AnchorGenerator", scales=[8], ratios=[0.5, 1, 2], strides=[4, 8])
    sized = dict(
        type="SizedAnchorGenerator", strides=[4, 8], sizes=[[32], [64]], convention="torchvision"
    )
    from mmdet.registry import TASK_UTILS

    for config in (generator, sized):
        own = TASK_UTILS.build(config)
        grids = AnchorGrids(own)
        for sizes in ([(6, 9), (3, 5)], [(9, 4), (5, 2)], [(6, 9), (3, 5)]):
            found = grids.anchors(sizes, torch.zeros(1))
            expected = own.grid_priors(sizes, device="cpu")
            for a, b in zip(found, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0)
            assert len(copy.deepcopy(grids)._grids) == 0
        like = torch.zeros(1, device="cuda")
        grids.anchors(sizes, like)
        pretended_gpu.clear()
        grids.anchors(sizes, like)
        assert pretended_gpu.totals()["copies"] == pretended_gpu.totals()["syncs"] == 0


@pytest.mark.parametrize("border", [-1, 0])
def test_anchors_of_padding_do_not_count(border: int):
    from mmdet.models.task_modules.prior_generators import anchor_inside_flags
    from mmdet.registry import TASK_UTILS

    own = TASK_UTILS.build(dict(type="AnchorGenerator", scales=[2], ratios=[1.0], strides=[4, 8]))
    grids, sizes = AnchorGrids(own), [(8, 8), (4, 4)]
    anchors = torch.cat(grids.anchors(sizes, torch.zeros(1)))
    for pad, image in (((32, 32), (32, 30)), ((24, 32), (20, 30)), ((24, 32), (24, 32))):
        found = grids.flags(sizes, anchors, pad, image, border)
        expected = torch.cat(own.valid_flags(sizes, pad, "cpu"))
        expected = anchor_inside_flags(anchors, expected, image, border)
        if found is None:
            found = torch.ones(len(anchors), dtype=torch.bool)
        torch.testing.assert_close(found, expected)
    if border == 0:
        with pytest.raises(UserError, match="No anchor"):
            grids.flags(sizes, anchors, (2, 2), (2, 2), border)


def rpn_head() -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(
        ConfigDict(
            type="SampledRPNHead", in_channels=4, feat_channels=4,
            anchor_generator=dict(type="AnchorGenerator", scales=[4], ratios=[0.5, 1, 2],
                                  strides=[4, 8]),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True),
            loss_bbox=dict(type="L1Loss"),
            train_cfg=dict(assigner=dict(type="MaxIoUAssigner", **RPN), allowed_border=-1,
                           sampler=dict(type="RandomSampler", num=10**6, pos_fraction=1.0,
                                        add_gt_as_proposals=False), pos_weight=-1, debug=False),
            test_cfg=dict(nms_pre=100, max_per_img=30, nms=dict(type="nms", iou_threshold=0.7),
                          min_bbox_size=0),
        )
    )  # fmt: skip


def test_rpn_losses_and_proposals(pretended_gpu: Counts):
    """Where all anchors are sampled, losses and gradients are the CPU's; proposals always are."""
    truths = [boxes_of(4, side=40), boxes_of(0), boxes_of(2, side=40)]
    maps = [torch.randn(3, 4, 16, 16), torch.randn(3, 4, 8, 8)]
    metas = [dict(img_shape=(64, 64 - i), pad_shape=(64, 64 - 8 * i)) for i in range(3)]

    def run(device: str) -> tuple[dict, list, list]:
        head = rpn_head()
        if device == "cuda":
            on_gpu(head)
        gts = [InstanceData(bboxes=t, labels=torch.zeros(len(t)).long()) for t in truths]
        outputs = head([own.to(device) for own in maps])
        losses = head.loss_by_feat(*outputs, [gt.to(device) for gt in gts], metas)
        total = losses["loss_rpn_cls"][0] + losses["loss_rpn_bbox"][0]
        gradients = torch.autograd.grad(total, list(head.parameters()))
        with torch.no_grad():
            head.predict_by_feat(*outputs, batch_img_metas=metas)  # constants go there once
            pretended_gpu.clear()
            found = head.predict_by_feat(*outputs, batch_img_metas=metas)
        return losses, gradients, found

    losses, gradients, found = run("cuda")
    assert pretended_gpu.totals()["syncs"] == 3  # NMS of each image
    wanted_losses, wanted_gradients, wanted = run("cpu")
    for name, own in losses.items():
        torch.testing.assert_close(real(own[0]), wanted_losses[name][0].detach())
    for own, other in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(real(own), other, rtol=1e-4, atol=1e-6)
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(real(own.bboxes), other.bboxes)
        torch.testing.assert_close(real(own.scores), other.scores)


def test_rpn_losses_do_not_wait(pretended_gpu: Counts):
    head = on_gpu(rpn_head())
    gts = [InstanceData(bboxes=boxes_of(3), labels=torch.zeros(3).long()).to("cuda")] * 2
    metas = [dict(img_shape=(64, 64), pad_shape=(64, 64))] * 2
    outputs = head([torch.randn(2, 4, s, s).to("cuda") for s in (16, 8)])
    head.loss_by_feat(*outputs, gts, metas)
    pretended_gpu.clear()
    head.loss_by_feat(*outputs, gts, metas)
    assert pretended_gpu.totals()["syncs"] == pretended_gpu.totals()["copies"] == 0


def test_no_proposal_is_large_enough(pretended_gpu: Counts):
    head = rpn_head()
    boxes = torch.tensor([[5.0, 5, 5, 9], [1, 1, 9, 1]]).to("cuda")
    scores, levels = torch.tensor([0.5, 0.9]).to("cuda"), torch.tensor([0, 1]).to("cuda")
    found = head._bbox_post_process(
        InstanceData(bboxes=boxes, scores=scores, level_ids=levels), head.test_cfg
    )
    assert len(found) == 0


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("score_thr", [0.05, 0.99])
def test_detections(pretended_gpu: Counts, agnostic: bool, score_thr: float):
    """Those of mmdet's head, in its order."""
    head = MODELS.build(
        dict(type="Shared2FCBBoxHead", in_channels=4, fc_out_channels=8, roi_feat_size=2,
             num_classes=3, reg_class_agnostic=agnostic)
    )  # fmt: skip
    cfg = ConfigDict(score_thr=score_thr, nms=dict(type="nms", iou_threshold=0.5), max_per_img=20)
    rois = torch.cat([torch.zeros(80, 1), boxes_of(80)], 1)
    logits, deltas = 2 * torch.randn(80, 4), torch.randn(80, 4 if agnostic else 12)
    meta = dict(img_shape=(90, 110))
    expected = head._predict_by_feat_single(rois, logits, deltas, meta, rcnn_test_cfg=cfg)
    moved = [own.to("cuda") for own in (rois, logits, deltas)]
    assert device_detections.suits(head, cfg, moved[0].device)
    assert not device_detections.suits(head, cfg, rois.device)
    device_detections.detections(head, *moved, meta["img_shape"], cfg)
    pretended_gpu.clear()
    found = device_detections.detections(head, *moved, meta["img_shape"], cfg)
    assert pretended_gpu.totals()["syncs"] <= 2
    assert pretended_gpu.totals()["copies"] == 0
    assert len(found) == len(expected) == (20 if score_thr < 0.5 else len(expected))
    for name in ("bboxes", "scores", "labels"):
        torch.testing.assert_close(real(found[name]), expected[name])


def test_keypoints_in_one_piece(pretended_gpu: Counts):
    """Few waits whatever the number of RoIs; the CPU's points, small, large, flat and tied."""
    maps = torch.randn(30, 3, 14, 14)
    maps[3] = 0  # flat: its first pixel
    maps[4, :, 2, 3] = maps[4, :, 9, 9] = 9.0
    corner, sides = torch.rand(30, 2) * 50, 4 + 80 * torch.rand(30, 2) ** 2
    sides[:5] = 60
    boxes = torch.cat([corner, corner + sides], 1)
    expected = decode_heatmaps(maps, boxes)
    on_device = maps.to("cuda"), boxes.to("cuda")
    pretended_gpu.clear()
    with late_checks():
        found = decode_heatmaps(*on_device)
    assert pretended_gpu.totals()["syncs"] <= 7
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(real(own), other)


def test_rpn_losses_at_rows_computed_again(pretended_gpu: Counts):
    """Losses, proposals and all gradients, the features' too, are those of the map's outputs."""
    truths = [boxes_of(4, side=40), boxes_of(0), boxes_of(2, side=40)]
    maps = [torch.randn(3, 4, 16, 12), torch.randn(3, 4, 8, 6)]
    meta = dict(img_shape=(64, 48), pad_shape=(64, 48))

    def run(device: str) -> tuple[list[Tensor], list[InstanceData]]:
        head = rpn_head()
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.normal_(0, 0.3)
        if device == "cuda":
            on_gpu(head)
        x = [own.to(device).requires_grad_() for own in maps]
        samples = []
        for truth in truths:
            gt = InstanceData(bboxes=truth, labels=torch.zeros(len(truth)).long()).to(device)
            samples.append(DetDataSample(metainfo=meta, gt_instances=gt))
        if device == "cuda":
            outputs, _ = head._outputs_and_losses(x, samples)
            assert not outputs[0][0].requires_grad
            pretended_gpu.clear()
            head.loss(x, samples)
            assert pretended_gpu.totals()["syncs"] == pretended_gpu.totals()["copies"] == 0
        losses, found = head.loss_and_predict(x, samples, head.test_cfg)
        numbers = [losses["loss_rpn_cls"][0], losses["loss_rpn_bbox"][0]]
        gradients = torch.autograd.grad(sum(numbers), [*head.parameters(), *x])
        return [*numbers, *gradients], found

    numbers, found = run("cuda")
    expected, wanted = run("cpu")
    for own, other in zip(numbers, expected, strict=True):
        torch.testing.assert_close(real(own), other.detach(), rtol=1e-4, atol=1e-6)
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(real(own.bboxes), other.bboxes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("checked", [False, True])
def test_nms_of_a_batch(pretended_gpu: Counts, checked: bool):
    """Of each image what NMS level by level keeps of the boxes that are there; of one, none."""
    boxes = torch.stack([boxes_of(60), boxes_of(60)])
    scores, levels = torch.rand(2, 60), torch.arange(60) % 3
    valid = torch.rand(2, 60) > 0.3 if checked else torch.ones(2, 60, dtype=torch.bool)
    boxes[0, 3, 2:] = boxes[0, 3, :2]  # empty: NMS keeps it
    if checked:
        valid[1] = False
    on_device = [own.to("cuda") for own in (boxes, scores, levels)]
    found = nms_of_batch(*on_device, 0.5, 20, valid.to("cuda") if checked else None)
    for i, keep in enumerate(found):
        rows = valid[i].nonzero()[:, 0]
        if len(rows) == 0:
            assert len(keep) == 0
            continue
        expected = rows[nms_per_level(boxes[i][rows], scores[i][rows], levels[rows], 0.5, 20)]
        assert real(keep).tolist() == expected.tolist()
        assert 5 < len(keep) <= 20


def test_rois_of_a_batch(pretended_gpu: Counts):
    boxes = [[boxes_of(3), boxes_of(2)], [boxes_of(0), boxes_of(4)], [boxes_of(1), boxes_of(0)]]
    expected = bbox2roi([torch.cat(own) for own in boxes])
    assert torch.equal(rois_of(boxes), expected)
    found = rois_of([[own.to("cuda") for own in of_image] for of_image in boxes])
    assert torch.equal(real(found), expected)


def test_counting_is_made_once(pretended_gpu: Counts):
    like = torch.zeros(1, device="cuda")
    for number in (0, 1, 5, 8, 7):
        assert real(counting(number, like)).tolist() == list(range(number))
        assert real(counting(number, like, step=-2)).tolist() == list(range(0, -2 * number, -2))
    pretended_gpu.clear()
    assert counting(6, like, torch.float32).dtype == torch.float32
    counting(6, like)
    assert pretended_gpu.totals()["launches"] == 1  # of another type


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
@pytest.mark.parametrize("sizes", [[(32, 64)] * 2, [(30, 64), (17, 50)], [(31, 33)]], ids=str)
@pytest.mark.parametrize("options", [dict(bgr_to_rgb=True), dict(), dict(pad_value=7)], ids=str)
def test_images_are_those_of_mmdet(
    pretended_gpu: Counts, sizes: list, options: dict, dtype: torch.dtype
):
    """Bit by bit, of one size or several; on a GPU without a wait, but for what is left to it."""
    options = dict(
        options, mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], pad_size_divisor=32,
        non_blocking=True,
    )  # fmt: skip
    ours, mmdets = BatchedDataPreprocessor(**options), DetDataPreprocessor(**options)
    images = [torch.randint(256, (3, *size)).to(dtype) for size in sizes]

    def data() -> dict:
        return dict(inputs=list(images), data_samples=[DetDataSample() for _ in sizes])

    expected, found = mmdets(data(), True), ours(data(), True)
    assert found["inputs"].dtype == torch.float32
    assert torch.equal(found["inputs"], expected["inputs"])
    for own, other in zip(found["data_samples"], expected["data_samples"], strict=True):
        assert own.metainfo == other.metainfo
    on_gpu(ours)
    pretended_gpu.clear()
    moved = ours(data(), True)["inputs"]
    assert torch.equal(real(moved), expected["inputs"])
    if dtype != torch.float16 and "pad_value" not in options:
        assert pretended_gpu.totals()["syncs"] == 0
        assert pretended_gpu.totals()["copies"] == len(sizes)


def test_open_checks_are_read_with_other_flags(pretended_gpu: Counts):
    """One wait for both; a failed check raises then, and once."""
    flags, seen = torch.tensor([True, False]).to("cuda"), []

    def explain() -> None:
        seen.append(1)
        raise UserError("bad")

    pretended_gpu.clear()
    with late_checks():
        require(torch.ones((), device="cuda", dtype=torch.bool), explain)
        assert read(flags).tolist() == [True, False]
        assert pretended_gpu.totals()["syncs"] == 1
    assert pretended_gpu.totals()["syncs"] == 1
    with pytest.raises(UserError), late_checks():
        require(torch.zeros((), device="cuda", dtype=torch.bool), explain)
        read(flags)
    assert seen == [1]
