"""The keypoint branch in the parallel head: which RoIs it sees, its loss, its predictions."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import InstanceData
from roi_head_cases import SAMPLES, build, images, sample

from mmdet_maskr.errors import UserError

K = 4
KEYPOINT_HEAD = dict(
    type="HeatmapKeypointHead",
    num_keypoints=K,
    num_convs=1,
    in_channels=64,
    conv_out_channels=16,
)


@pytest.fixture(scope="module")
def config(repo: Path) -> Config:
    model = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    model.test_cfg.rcnn.score_thr = 0.1
    extractor = copy.deepcopy(model.roi_head.mask_roi_extractor)
    model.roi_head.update(keypoint_head=dict(KEYPOINT_HEAD), keypoint_roi_extractor=extractor)
    return model


def samples(visible: bool = True, scale: float = 1.0) -> list:
    """Of each box a keypoint in the middle, one that is occluded, one outside, one not labeled."""
    found = []
    for boxes, labels in SAMPLES:
        data = sample(boxes, labels, scale)
        keypoints = torch.zeros(len(boxes), K, 3)
        for i, (x1, y1, x2, y2) in enumerate(boxes):
            keypoints[i, 0] = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, 2])
            keypoints[i, 1] = torch.tensor([x1 + 1, y2 - 2, 1])
            keypoints[i, 2] = torch.tensor([x2 + 30, y1, 2])
        if not visible:
            keypoints[..., 2] = 0
        data.gt_instances.keypoints = keypoints
        found.append(data)
    return found


def rois_of_the_head(model, data: list) -> tuple[dict, torch.Tensor, torch.Tensor]:
    """Losses of a step, and the RoIs and logits of its keypoint branch."""
    seen = {}
    head = model.roi_head
    handles = [
        head.keypoint_roi_extractor.register_forward_hook(
            lambda module, args, output: seen.update(rois=args[1])
        ),
        head.keypoint_head.register_forward_hook(
            lambda module, args, output: seen.update(logits=output)
        ),
    ]
    torch.manual_seed(3)  # of the samplers
    losses = model.loss(images(), data)
    for handle in handles:
        handle.remove()
    return losses, seen["rois"], seen["logits"].detach()


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("keypoint", [True, False])
def test_any_subset_of_branches(config: Config, mask: bool, keypoint: bool):
    without = {} if mask else dict(mask_head=None, mask_roi_extractor=None)
    without |= {} if keypoint else dict(keypoint_head=None, keypoint_roi_extractor=None)
    model = build(config, **without)
    losses = model.loss(images(), samples())
    assert ("loss_mask" in losses) == mask and ("loss_keypoint" in losses) == keypoint
    with torch.no_grad():
        results = model.eval().predict(images(), samples())
    for result in results:
        found = result.pred_instances
        count = len(found)
        assert count > 0
        assert ("masks" in found) == mask
        assert ("keypoints" in found) == ("keypoint_scores" in found) == keypoint
        if keypoint:
            assert found.keypoints.shape == (count, K, 2)
            assert found.keypoint_scores.shape == (count, K)


def test_raw_outputs(config: Config):
    """mode='tensor' gives class logits, box deltas, masks and heatmaps of proposals."""
    model = build(config).eval()
    with torch.no_grad():
        (outputs,) = model(images(), samples(), mode="tensor")
    assert [tuple(o.shape[1:]) for o in outputs[-4:]] == [(7,), (24,), (6, 28, 28), (K, 56, 56)]
    assert len(outputs[-1]) == len(outputs[-2]) > 0


def test_other_branches_do_not_change(config: Config):
    """The same weights with and without the keypoint branch give the same boxes and masks."""
    both = build(config)
    alone = build(config, keypoint_head=None, keypoint_roi_extractor=None)
    alone.load_state_dict(
        {k: v for k, v in both.state_dict().items() if "keypoint" not in k}, strict=True
    )
    with torch.no_grad():
        for ours, other in zip(
            both.eval().predict(images(), samples(scale=0.75)),
            alone.eval().predict(images(), samples(scale=0.75)),
            strict=True,
        ):
            for name in ("bboxes", "scores", "labels", "masks"):
                assert torch.equal(ours.pred_instances[name], other.pred_instances[name])


def test_loss_equals_a_direct_implementation(config: Config):
    model = build(config)
    data = samples()
    losses, rois, logits = rois_of_the_head(model, data)
    total, count = 0.0, 0
    for i, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = box
        truth = data[int(image)].gt_instances
        overlap = [iou(box, other) for other in truth.bboxes.tolist()]
        keypoints = truth.keypoints[overlap.index(max(overlap))].tolist()
        labeled = 0
        for k, (x, y, visibility) in enumerate(keypoints):
            if visibility > 0 and x1 <= x <= x2 and y1 <= y <= y2:
                column = min(int((x - x1) / (x2 - x1) * 56), 55)
                row = min(int((y - y1) / (y2 - y1) * 56), 55)
                total -= F.log_softmax(logits[i, k].flatten(), 0)[row * 56 + column].item()
                labeled += 1
        assert labeled > 0, "RoIs without a keypoint inside do not reach the head"
        count += labeled
    assert count > 6
    assert losses["loss_keypoint"].item() == pytest.approx(total / count, rel=1e-5)


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


def test_fixed_normalizer(config: Config):
    """Divided by images x K x sampled RoIs x fraction of positive ones, as in Detectron2."""
    visible, _, _ = rois_of_the_head(build(config), samples())
    head = dict(KEYPOINT_HEAD, loss_normalizer="fixed")
    fixed, rois, _ = rois_of_the_head(build(config, keypoint_head=head), samples())
    full_count = 2 * K * 64 * 0.25
    assert fixed["loss_keypoint"].item() < visible["loss_keypoint"].item()
    count = fixed["loss_keypoint"].item() / visible["loss_keypoint"].item() * full_count
    assert count == pytest.approx(round(count), abs=1e-3), "the number of valid keypoints"
    assert len(rois) <= round(count) <= 3 * len(rois)


def test_samplers_without_a_number_of_rois(config: Config):
    """Only the 'fixed' normalizer needs one."""
    config = copy.deepcopy(config)
    config.train_cfg.rcnn.sampler = dict(type="PseudoSampler")
    assert build(config).loss(images(), samples())["loss_keypoint"] >= 0
    head = dict(KEYPOINT_HEAD, loss_normalizer="fixed")
    with pytest.raises(UserError, match=r"'fixed' needs a sampler with num .*'PseudoSampler'"):
        build(config, keypoint_head=head)
    config.train_cfg = None
    build(config, keypoint_head=head)


@pytest.mark.parametrize("why", ["not labeled", "other class", "no instances"])
def test_batch_without_visible_keypoints_trains(config: Config, why: str):
    head = dict(KEYPOINT_HEAD, keypoint_labels=[3] if why == "other class" else None)
    model = build(config, keypoint_head=head)
    data = samples(visible=why != "not labeled")
    if why == "no instances":
        data = [sample([], []), sample([], [])]
        for item in data:
            item.gt_instances.keypoints = torch.zeros(0, K, 3)
    losses = model.loss(images(), data)
    assert losses["loss_keypoint"] == 0
    total = sum(sum(v) if isinstance(v, list) else v for k, v in losses.items() if "loss" in k)
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_rois_of_other_classes_are_not_trained_on(config: Config):
    model = build(config, keypoint_head=dict(KEYPOINT_HEAD, keypoint_labels=[4]))
    _, rois, _ = rois_of_the_head(model, samples())
    second = torch.tensor(SAMPLES[0][0][1])  # the only ground truth with label 4
    assert len(rois) > 0 and (rois[:, 0] == 0).all()
    assert all(iou(roi, second.tolist()) >= 0.5 for roi in rois[:, 1:].tolist())


def test_detections_of_other_classes_get_no_keypoints(config: Config):
    model = build(config).eval()
    head = model.roi_head
    labels = torch.tensor([4, 1, 4, 0])
    boxes = torch.tensor([[8.0, 8, 60, 50], [40, 30, 90, 90], [1, 2, 30, 40], [5, 5, 90, 90]])
    found = []
    for keypoint_labels in (None, [4]):
        head.keypoint_head.keypoint_labels = keypoint_labels
        results = [InstanceData(bboxes=boxes.clone(), labels=labels)]
        with torch.no_grad():
            features = model.extract_feat(images(1))
            found.append(head.predict_keypoint(features, [dict(scale_factor=(1, 1))], results)[0])
    everything, some = found
    for name in ("keypoints", "keypoint_scores"):
        assert (everything[name] != 0).all()
        torch.testing.assert_close(some[name][labels == 4], everything[name][labels == 4])
        assert (some[name][labels != 4] == 0).all()


def test_keypoints_are_decoded_at_network_scale(config: Config):
    """Rescaled keypoints are those of the network's input divided by the scale, masks or not."""
    for without in ({}, dict(mask_head=None, mask_roi_extractor=None)):
        model = build(config, **without).eval()
        with torch.no_grad():
            scaled = model.predict(images(), samples(scale=0.75), rescale=True)
            plain = model.predict(images(), samples(scale=0.75), rescale=False)
        for a, b in zip(scaled, plain, strict=True):
            a, b = a.pred_instances, b.pred_instances
            torch.testing.assert_close(a.keypoints, b.keypoints / 0.75)
            torch.testing.assert_close(a.bboxes, b.bboxes / 0.75)
            inside = (b.keypoints >= b.bboxes[:, None, :2]) & (
                b.keypoints <= b.bboxes[:, None, 2:].clamp(min=b.bboxes[:, None, :2] + 1)
            )
            assert inside.all()


def test_shares_the_box_roi_extractor(config: Config):
    """Without RoI extractor of its own: 7 x 7 features, 28 x 28 heatmaps, no further parameters."""
    model = build(config, keypoint_roi_extractor=None)
    assert model.loss(images(), samples())["loss_keypoint"] > 0
    with torch.no_grad():
        assert "keypoints" in model.eval().predict(images(), samples())[0].pred_instances


def test_no_detections(config: Config):
    config = copy.deepcopy(config)
    config.test_cfg.rcnn.score_thr = 1.0
    with torch.no_grad():
        results = build(config).eval().predict(images(), samples())
    for result in results:
        assert result.pred_instances.keypoints.shape == (0, K, 2)
        assert result.pred_instances.keypoint_scores.shape == (0, K)


def test_wrong_ground_truth(config: Config):
    model = build(config)
    with pytest.raises(UserError, match=r"ground truth has no keypoints: use CocoKeypointDataset"):
        model.loss(images(), [sample(*args) for args in SAMPLES])
    data = samples()
    for item in data:
        item.gt_instances.keypoints = item.gt_instances.keypoints[:, :3]
    with pytest.raises(UserError, match=r"num_keypoints=4, but the dataset has 3"):
        model.loss(images(), data)


def test_extractor_without_head(config: Config):
    with pytest.raises(UserError, match=r"roi_head.keypoint_head is not"):
        build(config, keypoint_head=None)
