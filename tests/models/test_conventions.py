"""Proposals and detections as other codebases choose them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr import conventions
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import WeightedBoxCoder
from mmdet_maskr.models.dense_heads.proposals import best_of_levels
from mmdet_maskr.models.mask_heads.paste import paste

CODER = WeightedBoxCoder([1, 1, 1, 1])


def select_proposals(
    anchors: Tensor, logits: Tensor, deltas: Tensor, convention: str, **options
) -> InstanceData:
    """Of one level of one image."""
    cfg = ConfigDict(nms_pre=10, max_per_img=10, nms=dict(type="nms", iou_threshold=0.7))
    cfg.update(options)
    chosen = conventions.find("convention", convention)
    ranks, best, priors, levels = best_of_levels(
        [logits[None]], [deltas.t()[None, :, :, None]], anchors, cfg.nms_pre, chosen.best
    )
    boxes = CODER.decode(priors[0], best[0])
    return chosen.proposals(boxes, ranks[0], levels, (100, 100), cfg)


def proposals(anchors: Tensor, logits: Tensor, convention: str, **options) -> Tensor:
    found = select_proposals(anchors, logits, torch.zeros_like(anchors), convention, **options)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert (found.scores <= 1).all() and (found.labels == 0).all()
    return found.bboxes


def select_detections(
    boxes: Tensor, scores: Tensor, cfg: ConfigDict, convention: str, *limits: tuple[int, int]
) -> InstanceData:
    return conventions.find("convention", convention).detections(boxes, scores, cfg, *limits)


def row_of_boxes(sides: list[float]) -> Tensor:
    """Squares side by side."""
    left = torch.arange(len(sides)) * 20.0
    return torch.stack([left, left * 0, left + torch.tensor(sides), torch.tensor(sides)], 1)


def test_large_logits_are_no_ties():
    """Sigmoids of 20 and 30 are both 1 in float32: the better box is the one with 30."""
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    logits = torch.tensor([20.0, 30.0])
    assert logits.sigmoid().unique().numel() == 1
    assert proposals(anchors, logits, "detectron2")[0, 3] == 9
    for convention in ("detectron2", "torchvision"):  # both choose by logits before NMS
        boxes = row_of_boxes([10, 10, 10])
        best = proposals(boxes, torch.tensor([20.0, 30, 25]), convention, nms_pre=1)
        assert best[:, 0].tolist() == [20]


@pytest.mark.parametrize(("convention", "kept"), [("detectron2", [5.0]), ("torchvision", [4, 5.0])])
def test_smallest_side(convention: str, kept: list[float]):
    boxes = row_of_boxes([3, 4, 5])
    found = proposals(boxes, torch.tensor([3.0, 2, 1]), convention, min_bbox_size=4)
    assert (found[:, 2] - found[:, 0]).tolist() == kept


def test_boxes_are_clipped_first():
    """A box that lies outside of the image has no area left."""
    boxes = torch.tensor([[110.0, 10, 130, 30], [90, 10, 130, 30]])
    found = proposals(boxes, torch.tensor([2.0, 1]), "detectron2", min_bbox_size=0)
    assert found.tolist() == [[90, 10, 100, 30]]


CFG = ConfigDict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=3)


def test_detections_compete_within_their_class():
    """Two classes on one place stay; of one class the better; at most three, best first."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]])
    scores = torch.tensor([[0.6, 0.7], [0.8, 0.05], [0.1, 0.2]])
    for per_class in (boxes, boxes.repeat(1, 2)):
        for convention in ("detectron2", "torchvision"):
            found = select_detections(per_class, scores, CFG, convention)
            torch.testing.assert_close(found.scores, torch.tensor([0.8, 0.7, 0.2]))
            assert found.labels.tolist() == [0, 1, 1]
            assert found.bboxes.tolist() == boxes[[1, 0, 2]].tolist()


def test_torchvision_drops_small_detections():
    boxes = row_of_boxes([0.005, 10])
    scores = torch.tensor([[0.9], [0.8]])
    cfg = ConfigDict(CFG, min_bbox_size=0.01)
    assert len(select_detections(boxes, scores, cfg, "torchvision")) == 1
    assert len(select_detections(boxes, scores, cfg, "detectron2")) == 2


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_detectron2_drops_what_is_not_finite_first(wrong: float, per_class: bool):
    """One such box would switch NMS off for the image, or take the place of a detection."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [20, 20, 30, 30]])
    scores = torch.tensor([[0.6], [0.7], [0.5], [0.9]])
    bad_box, bad_score = boxes.clone(), scores.clone()
    bad_box[3, 2] = wrong
    bad_score[3] = wrong
    for box, score in ((bad_box, scores), (boxes, bad_score)):
        if per_class:
            box, score = torch.cat([boxes, box], 1), score.repeat(1, 2)
        found = select_detections(box, score, CFG, "detectron2", (100, 100))
        assert found.scores.max() == score[1, 0] and found.bboxes.isfinite().all()
        assert [20, 20] not in found.bboxes[:, :2].tolist()
        assert boxes[0].tolist() not in found.bboxes.tolist()


def test_detectron2_drops_detections_without_area_last():
    """They have had their place among the best ``max_per_img`` by then."""
    boxes = torch.tensor([[120.0, 10, 140, 30], [10, 10, 10, 30], [0, 0, 9, 9], [30, 30, 40, 40]])
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    found = select_detections(boxes, scores, CFG, "detectron2", (100, 100))
    assert found.bboxes.tolist() == [[0, 0, 9, 9]]  # the third of three
    assert len(select_detections(boxes, scores, CFG, "torchvision", (100, 100))) == 3


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_detectron2_drops_proposals_that_are_not_finite(wrong: float):
    anchors = row_of_boxes([10, 10, 10])
    for logits, delta in ((torch.tensor([3.0, wrong, 1]), 0.0), (torch.tensor([3.0, 2, 1]), wrong)):
        deltas = torch.zeros(3, 4)
        deltas[1, 0] = delta
        found = select_proposals(anchors, logits, deltas, "detectron2")
        assert found.bboxes[:, 0].tolist() == [0, 40]


def test_no_candidates():
    for boxes, scores in (
        (torch.zeros(0, 8), torch.zeros(0, 2)),
        (torch.zeros(3, 8), torch.zeros(3, 2)),
    ):
        found = select_detections(boxes, scores, CFG, "detectron2")
        assert found.bboxes.shape == (0, 4) and found.labels.dtype == torch.long


@pytest.fixture(scope="module")
def mini(repo: Path) -> ConfigDict:
    return Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model


def build(mini: ConfigDict, rpn: str, rcnn: str):
    cfg = copy.deepcopy(mini)
    cfg.test_cfg.rpn.convention = cfg.train_cfg.rpn_proposal.convention = rpn
    cfg.test_cfg.rcnn.convention = rcnn
    torch.manual_seed(0)
    return MODELS.build(cfg).eval()


@pytest.mark.parametrize("rescale", [False, True])
def test_a_model_predicts_with_each_convention(mini: ConfigDict, rescale: bool):
    """Detections of all conventions are nearly the same; masks are pasted in two ways."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (3, 96, 128), generator=generator)
    masks = {}
    for convention in ("mmdet", "detectron2", "torchvision"):
        model = build(mini, convention, convention)
        model.roi_head.test_cfg.score_thr = 0.0
        sample = DetDataSample(
            metainfo=dict(img_shape=(96, 128), ori_shape=(48, 64), scale_factor=(2.0, 2.0))
        )
        data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
        with torch.no_grad():
            (result,) = model.predict(data["inputs"], data["data_samples"], rescale=rescale)
        found = result.pred_instances
        assert len(found) == 30
        limit = torch.tensor([64.0, 48] if rescale else [128.0, 96]).repeat(2)
        assert (found.bboxes <= limit).all() and found.bboxes.max() > 40
        assert found.masks.shape == ((30, 48, 64) if rescale else (30, 96, 128))
        masks[convention] = found.masks
    assert masks["torchvision"].sum() != masks["detectron2"].sum()


@pytest.mark.parametrize("cascade", [False, True])
def test_a_roi_head_drops_what_is_not_finite_before_it_clips(mini: ConfigDict, cascade: bool):
    """Clipped to the image, an infinite box is a finite one."""
    cfg = copy.deepcopy(mini)
    cfg.test_cfg.rcnn.update(convention="detectron2", score_thr=0.0, max_per_img=100)
    if cascade:
        cfg.roi_head.update(
            type="AveragedCascadeRoIHead", num_stages=1, stage_loss_weights=[1],
            mask_head=None, mask_roi_extractor=None,
        )  # fmt: skip
        cfg.train_cfg.rcnn = [cfg.train_cfg.rcnn]
    head = MODELS.build(cfg).eval().roi_head
    last = head.bbox_head[-1] if cascade else head.bbox_head
    forward = last.forward

    def spoiled(x: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = forward(x)
        deltas = deltas * 0
        deltas[1, 0] = float("inf")
        deltas[2] = float("nan")
        return logits, deltas

    last.forward = spoiled
    boxes = torch.tensor([[0.0, 0, 40, 40], [10, 10, 50, 50], [20, 20, 60, 60], [90, 30, 300, 80]])
    proposals = InstanceData(bboxes=boxes, scores=torch.ones(4))
    x = [torch.randn(1, 64, s, s) for s in (24, 24, 12, 6)]
    meta = dict(img_shape=(96, 128), ori_shape=(96, 128), scale_factor=(1.0, 1.0))
    with torch.no_grad():
        (found,) = head.predict_bbox(x, [meta], [proposals], head.test_cfg)
    assert sorted(found.bboxes[:, 0].unique().tolist()) == [0, 90]
    assert found.bboxes[:, 2].max() == 128 and last.bbox_coder.clip_border


def test_training_uses_the_proposals_of_the_convention(mini, monkeypatch: pytest.MonkeyPatch):
    calls = []
    original = conventions.Detectron2.proposals
    monkeypatch.setattr(
        conventions.Detectron2,
        "proposals",
        lambda self, *args: calls.append(self.name) or original(self, *args),
    )
    model = build(mini, "detectron2", "mmdet")
    x = [torch.randn(1, 64, s, s) for s in (24, 12, 6, 3)]
    meta = dict(img_shape=(96, 96), scale_factor=(1.0, 1.0))
    cfg = model.train_cfg.rpn_proposal
    found = model.rpn_head.predict_by_feat(*model.rpn_head(x), batch_img_metas=[meta], cfg=cfg)
    assert calls == ["detectron2"] and len(found[0]) > 5


def test_unknown_convention(mini: ConfigDict):
    with pytest.raises(UserError, match=r"rpn\.convention must be one of .*'detectron'"):
        build(mini, "detectron", "mmdet")
    with pytest.raises(UserError, match=r"test_cfg\.rcnn\.convention must be one of .*'tv'"):
        build(mini, "mmdet", "tv")
    cfg = copy.deepcopy(mini)
    cfg.rpn_head.loss_cls.use_sigmoid = False
    cfg.test_cfg.rpn.convention = "detectron2"
    with pytest.raises(UserError, match="use_sigmoid=True"):
        MODELS.build(cfg)


@pytest.mark.parametrize(
    "nms",
    [
        dict(type="soft_nms", iou_threshold=0.5),
        dict(type="nms", iou_threshold=0.5, class_agnostic=True),
        dict(type="nms", iou_threshold=0.5, max_num=10),
        dict(type="nms"),
    ],
)
@pytest.mark.parametrize("convention", ["detectron2", "torchvision"])
def test_options_of_nms_that_a_convention_has_not(mini: ConfigDict, nms: dict, convention: str):
    """They would change nothing: both have one NMS, within classes and levels."""
    for part in ("rpn", "rcnn"):
        cfg = copy.deepcopy(mini)
        cfg.test_cfg[part].convention = convention
        cfg.test_cfg[part].nms = nms
        with pytest.raises(UserError, match=rf"{part}\.nms=.* cannot go with .*'{convention}'"):
            MODELS.build(cfg)
        cfg.test_cfg[part].convention = "mmdet"
        MODELS.build(cfg)
    model = build(mini, convention, "mmdet")
    cfg = ConfigDict(model.train_cfg.rpn_proposal, nms=nms)
    maps = model.rpn_head([torch.zeros(1, 64, s, s) for s in (24, 12, 6, 3)])
    with pytest.raises(UserError, match=r"cannot go with rpn\.convention"):
        model.rpn_head.predict_by_feat(*maps, batch_img_metas=[dict(img_shape=(96, 96))], cfg=cfg)


class Mirrored(conventions.Detectron2):
    """A fourth codebase: all steps are Detectron2's, but for three."""

    name = "mirrored"
    smallest_side = 30.0
    crops = staticmethod(
        lambda masks, *rest: conventions.Torchvision.crops(masks.flip(2).contiguous(), *rest)
    )

    def roi_level(self, scale: Tensor, size: float, level: int, finest: int) -> Tensor:
        return scale * 0 + 1


def test_another_codebase_is_one_class(mini: ConfigDict, monkeypatch: pytest.MonkeyPatch):
    """Heads, extractors, anchors and images take its name once it is registered."""
    monkeypatch.setattr(conventions, "_BY_NAME", dict(conventions._BY_NAME))
    with pytest.raises(UserError, match="'mirrored'"):
        build(mini, "mirrored", "mirrored")
    conventions.register(Mirrored())
    cfg = copy.deepcopy(mini)
    for option in ("bbox_roi_extractor", "mask_roi_extractor"):
        cfg.roi_head[option].level_rule = "mirrored"
    model = build(cfg, "mirrored", "mirrored")
    rois = torch.tensor([[0.0, 0, 0, 1, 1], [0, 0, 0, 900, 900]])
    assert model.roi_head.bbox_roi_extractor.map_roi_levels(rois, 4).tolist() == [1, 1]
    assert type(TRANSFORMS.build(dict(type="SourceResize", scale=(9, 9), convention="mirrored")))
    sized = dict(type="SizedAnchorGenerator", strides=[4], sizes=[[8]])
    anchors = [
        TASK_UTILS.build(dict(sized, convention=name)).base_anchors[0]
        for name in ("mirrored", "detectron2")
    ]
    assert torch.equal(*anchors)

    model.roi_head.test_cfg.score_thr = 0.0
    image = torch.randint(0, 256, (3, 96, 128), generator=torch.Generator().manual_seed(3))
    meta = dict(img_shape=(96, 128), ori_shape=(96, 128), scale_factor=(1.0, 1.0))
    data = model.data_preprocessor(
        dict(inputs=[image], data_samples=[DetDataSample(metainfo=meta)])
    )
    with torch.no_grad():
        (result,) = model.predict(data["inputs"], data["data_samples"])
        found = result.pred_instances
        probabilities = torch.rand(1, 28, 28)
        box, size = torch.tensor([[10.0, 10, 60, 60]]), (96, 128)
        cfg = ConfigDict(model.roi_head.test_cfg)
        masks = paste(probabilities, box, size, cfg)
        torchvisions = paste(
            probabilities.flip(2), box, size, ConfigDict(cfg, convention="torchvision")
        )
    assert len(found) and (found.bboxes[:, 2:] - found.bboxes[:, :2]).min() >= 30
    assert torch.equal(masks, torchvisions) and masks.any()


def test_a_step_that_a_convention_has_not():
    for step, names in (
        ("anchors", ["detectron2", "torchvision"]),
        ("resize", ["detectron2", "torchvision"]),
        ("roi_level", ["mmdet", "detectron2", "torchvision"]),
    ):
        assert conventions.accepted(step) == names
    with pytest.raises(UserError, match="'mmdet'"):
        conventions.find("SourceResize.convention", "mmdet", "resize")
