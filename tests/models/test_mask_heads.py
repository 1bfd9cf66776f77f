"""Mask heads: equal to mmdet's where it has them, to direct implementations where it has not."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmdet_maskr.errors import UserError
from mmdet_maskr.models import ComposedMaskHead, InterleavedMaskHead
from mmdet_maskr.ops.mask_rle import RLEMasks

BCE = dict(type="CrossEntropyLoss", use_mask=True)
TRAIN_CFG = ConfigDict(mask_size=28)
K = 80
SIZE = 96


class Sampled:
    """What a mask head reads of mmdet's SamplingResult."""

    def __init__(self, boxes: torch.Tensor, gt_indices: torch.Tensor, labels: torch.Tensor):
        self.pos_priors, self.pos_assigned_gt_inds, self.pos_gt_labels = boxes, gt_indices, labels


def batch(counts: tuple[int, ...] = (5, 0, 7), num_classes: int = K):
    """Sampled RoIs and ground truth of images with so many positive RoIs."""
    generator = torch.Generator().manual_seed(0)
    sampled, ground_truth = [], []
    for count in counts:
        gts = 3 if count else 0
        masks = torch.zeros(gts, SIZE, SIZE, dtype=torch.uint8)
        for i in range(gts):
            masks[i, 10 * i : 10 * i + 50, 15 * i : 15 * i + 40] = 1
        low = torch.rand(count, 2, generator=generator) * 50
        boxes = torch.cat([low, low + 10 + torch.rand(count, 2, generator=generator) * 40], 1)
        classes = torch.randint(num_classes, (gts,), generator=generator)
        index = torch.arange(count) % max(gts, 1)
        sampled.append(Sampled(boxes, index, classes[index]))
        ground_truth.append(InstanceData(masks=BitmapMasks(masks.numpy(), SIZE, SIZE)))
    return sampled, ground_truth, torch.cat([s.pos_gt_labels for s in sampled])


def features(count: int, channels: int = 32, size: int = 14) -> torch.Tensor:
    x = torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))
    return x.requires_grad_()


def build(cls: type = ComposedMaskHead, **options: object):
    torch.manual_seed(0)
    defaults = dict(in_channels=32, conv_out_channels=24, num_classes=K)
    head = cls(**{**defaults, **options})
    head.init_weights()
    return head


FORMS = dict(
    paper=dict(),
    agnostic=dict(class_agnostic=True),
    one_class=dict(num_classes=1),
    c4=dict(num_convs=0),
    norm=dict(num_convs=2, norm_cfg=dict(type="GN", num_groups=4)),
    bilinear=dict(num_convs=1, upsample_cfg=dict(type="bilinear", scale_factor=2)),
    nearest=dict(num_convs=1, upsample_cfg=dict(type="nearest", scale_factor=4)),
    none=dict(num_convs=8, upsample_cfg=dict(type=None)),
)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_equals_fcn_mask_head(options: dict):
    """Initial weights, logits, loss and gradients; of all channels and of the selected one."""
    theirs, ours = build(FCNMaskHead, **options), build(**options)
    expected_state = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected_state)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, expected_state[name]), name
    for head in (theirs, ours):  # biases start at zero, where a wrong one would not show
        torch.nn.init.normal_(head.conv_logits.bias, generator=torch.Generator().manual_seed(2))

    sampled, ground_truth, labels = batch(num_classes=options.get("num_classes", K))
    size = 14 * (options.get("upsample_cfg", dict(scale_factor=2)).get("scale_factor") or 1)
    cfg = ConfigDict(mask_size=size)

    def run(head, given_labels):
        x = features(len(labels))
        logits = head(x) if given_labels is None else head(x, given_labels)
        result = head.loss_and_target(logits, sampled, ground_truth, cfg)
        head.zero_grad()
        result["loss_mask"]["loss_mask"].sum().backward()
        gradients = {name: p.grad.clone() for name, p in head.named_parameters()}
        return logits.detach(), result["loss_mask"]["loss_mask"].detach(), x.grad, gradients

    logits, loss, x_grad, gradients = run(theirs, None)
    for given in (None, labels):
        our_logits, our_loss, our_x_grad, our_gradients = run(ours, given)
        channels = logits
        if given is not None and not options.get("class_agnostic"):
            channels = logits[torch.arange(len(labels)), labels][:, None]
        close = dict(rtol=0, atol=1e-5)
        torch.testing.assert_close(our_logits, channels, **close)
        torch.testing.assert_close(our_loss, loss, **close)
        torch.testing.assert_close(our_x_grad, x_grad, **close)
        for name, gradient in gradients.items():
            torch.testing.assert_close(our_gradients[name], gradient, msg=name, **close)


@pytest.mark.parametrize("rescale", [False, True])
def test_predictions_equal_fcn_mask_head(rescale: bool):
    theirs, ours = build(FCNMaskHead), build()
    boxes = torch.rand(6, 4, generator=torch.Generator().manual_seed(4)) * 40
    boxes[:, 2:] += boxes[:, :2] + 1
    labels = torch.tensor([0, 3, 79, 3, 5, 6])
    meta = dict(ori_shape=(77, 103), scale_factor=(0.75, 0.8))
    results = {}
    with torch.no_grad():
        logits = theirs(features(6))
        selected = ours(features(6), labels)
    for name, head, preds, output in (
        ("expected", theirs, logits, "dense"),
        ("all channels", ours, logits, "dense"),
        ("selected", ours, selected, "dense"),
        ("rle", ours, selected, "rle"),
    ):
        instances = [InstanceData(bboxes=boxes.clone(), labels=labels)]
        cfg = ConfigDict(mask_thr_binary=0.5, mask_output=output)
        results[name] = head.predict_by_feat((preds,), instances, [meta], cfg, rescale)[0]
    expected = results.pop("expected")
    assert expected.masks.any()
    for name, result in results.items():
        assert torch.equal(result.bboxes, expected.bboxes), name
        masks = result.masks
        if name == "rle":
            assert isinstance(masks, RLEMasks)
            masks = torch.from_numpy(masks.astype(bool))
        # logits of the selected channel differ by rounding: they are another matrix product
        assert (masks != expected.masks).sum() <= (0 if name == "all channels" else 2), name
    assert torch.equal(results["selected"].masks, masks)


@pytest.mark.parametrize("tower", ["fcn", "mlp", "res5"])
def test_softmax_equals_a_direct_implementation(tower: str):
    head = build(
        tower=tower,
        num_classes=6,
        activation="softmax",
        fc_out_channels=16,
        loss_mask=dict(type="CrossEntropyLoss", use_mask=False),
    )
    sampled, ground_truth, labels = batch(num_classes=6)
    x = features(len(labels))
    logits = head(x, labels)
    assert logits.shape == (12, 7, 28, 28)
    result = head.loss_and_target(logits, sampled, ground_truth, TRAIN_CFG)
    targets = result["mask_targets"]
    assert targets.any() and not targets.all()
    log_p = torch.log(logits.exp() / logits.exp().sum(1, keepdim=True))
    total = 0.0
    for i, label in enumerate(labels.tolist()):
        inside = targets[i] == 1
        total -= log_p[i, label][inside].sum() + log_p[i, 6][~inside].sum()
    torch.testing.assert_close(
        result["loss_mask"]["loss_mask"], total / targets.numel(), rtol=0, atol=1e-5
    )
    expected = logits.softmax(1)[torch.arange(12), labels]
    torch.testing.assert_close(head.predictor.probabilities(logits, labels), expected)


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_mlp(class_agnostic: bool):
    """Table 2e: fully connected layers, the last one to K * 28 * 28; selection is exact."""
    head = build(
        tower="mlp", num_fcs=3, fc_out_channels=16, num_classes=5, class_agnostic=class_agnostic
    )
    outputs = 1 if class_agnostic else 5
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters() if "weight" in name}
    assert shapes == {
        "fcs.0.weight": (16, 32 * 14 * 14),
        "fcs.1.weight": (16, 16),
        "fcs.2.weight": (16, 16),
        "fc_logits.weight": (outputs * 28 * 28, 16),
    }
    torch.nn.init.normal_(head.fc_logits.bias)
    labels = torch.tensor([4, 0, 2, 0, 4, 4, 1])
    gradients = []
    logits = []
    for selected in (False, True):
        x = features(7)
        preds = head(x, labels) if selected else head(x)
        assert preds.shape == (7, 1 if selected else outputs, 28, 28)
        if not selected and not class_agnostic:
            preds = preds[torch.arange(7), labels][:, None]
        logits.append(preds.detach())
        head.zero_grad()
        F.binary_cross_entropy_with_logits(preds, torch.ones_like(preds)).backward()
        gradients.append([x.grad, *(p.grad.clone() for p in head.parameters())])
    torch.testing.assert_close(logits[1], logits[0])
    for selected, all_channels in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(selected, all_channels)


def test_shapes_of_the_paper():
    """Figure 4 and Table 2e at full width: the layers that the paper names."""
    c4 = ComposedMaskHead(tower="res5", in_channels=2048, roi_feat_size=7)
    assert c4.upsample.weight.shape == (2048, 256, 2, 2) and c4.mask_size == 14
    assert c4.conv_logits.weight.shape == (80, 256, 1, 1)
    assert c4(torch.zeros(1, 2048, 7, 7)).shape == (1, 80, 14, 14)
    fpn = ComposedMaskHead(roi_feat_size=14)
    assert [conv.conv.weight.shape for conv in fpn.convs] == [(256, 256, 3, 3)] * 4
    assert fpn(torch.zeros(1, 256, 14, 14)).shape == (1, 80, 28, 28) and fpn.mask_size == 28
    with torch.device("meta"):
        mlp = ComposedMaskHead(tower="mlp", num_fcs=2)
    assert [layer.weight.shape for layer in mlp.fcs] == [(1024, 256 * 14 * 14), (1024, 1024)]
    assert mlp.fc_logits.weight.shape == (80 * 28 * 28, 1024)


@pytest.mark.parametrize(
    ("roi_feat_size", "upsample_cfg", "mask_size"),
    [
        (14, dict(type=None), 14),
        (7, dict(type="deconv", scale_factor=2), 14),
        (14, dict(type="nearest", scale_factor=2), 28),
        (14, dict(type="bilinear", scale_factor=4), 56),
        (28, dict(type="deconv", scale_factor=4), 112),
    ],
)
def test_mask_sizes(roi_feat_size: int, upsample_cfg: dict, mask_size: int):
    head = build(num_convs=1, roi_feat_size=roi_feat_size, upsample_cfg=upsample_cfg)
    assert head.mask_size == mask_size
    assert head(features(2, size=roi_feat_size)).shape == (2, K, mask_size, mask_size)


@pytest.mark.parametrize("name", ["DiceLoss", "FocalLoss", "CrossEntropyLoss"])
def test_losses_of_mmdet(name: str):
    """Dice and focal by their formulas, on the mask of the RoI's class."""
    loss_mask = dict(type=name, loss_weight=2.0)
    if name == "CrossEntropyLoss":
        loss_mask["use_sigmoid"] = True
    head = build(loss_mask=loss_mask)
    sampled, ground_truth, labels = batch()
    logits = head(features(len(labels)), labels)
    result = head.loss_and_target(logits, sampled, ground_truth, TRAIN_CFG)
    p, t = logits[:, 0].sigmoid().flatten(1), result["mask_targets"].flatten(1)
    if name == "DiceLoss":
        expected = 1 - 2 * (p * t).sum(1) / ((p * p).sum(1) + (t * t).sum(1) + 2e-3)
    elif name == "FocalLoss":
        right = torch.where(t == 1, p, 1 - p)
        alpha = torch.where(t == 1, 0.25, 0.75)
        expected = -alpha * (1 - right) ** 2 * right.log()
    else:
        expected = -torch.where(t == 1, p, 1 - p).log()
    torch.testing.assert_close(
        result["loss_mask"]["loss_mask"], 2 * expected.mean(), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(class_agnostic=True),
        dict(tower="mlp", fc_out_channels=16),
        dict(activation="softmax", loss_mask=dict(type="CrossEntropyLoss")),
        dict(loss_mask=dict(type="DiceLoss")),
    ],
)
def test_no_positive_rois(options: dict):
    """Zero loss, and a gradient for every parameter; empty masks of the right type."""
    head = build(num_classes=4, **options)
    sampled, ground_truth, labels = batch((0, 0))
    logits = head(features(0), labels.long())
    loss = head.loss_and_target(logits, sampled, ground_truth, TRAIN_CFG)["loss_mask"]["loss_mask"]
    assert loss == 0
    loss.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name
    meta = dict(ori_shape=(40, 30), scale_factor=(2.0, 2.0))
    for output, dtype in itertools.product(("dense", "rle"), (torch.long, torch.float)):
        empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=dtype))
        cfg = ConfigDict(mask_thr_binary=0.5, mask_output=output)
        masks = head.predict_by_feat((logits.detach(),), [empty], [meta], cfg, True)[0].masks
        assert masks.shape == (0, 40, 30)
        assert isinstance(masks, RLEMasks) if output == "rle" else masks.dtype == torch.bool


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(tower="cnn"), r"tower must be one of \('fcn', 'mlp', 'res5'\), not 'cnn'"),
        (dict(num_convs=9), "num_convs must be 0 to 8, not 9"),
        (dict(tower="mlp", num_convs=4), "num_convs=4 has no effect with tower='mlp'"),
        (dict(tower="mlp", num_fcs=0), "num_fcs must be at least 1"),
        (dict(tower="mlp", upsample_cfg=dict(type="deconv")), "upsample_cfg has no effect"),
        (dict(conv_kernel_size=2), "conv_kernel_size must be odd"),
        (dict(activation="relu"), r"activation must be one of \('sigmoid', 'softmax'\)"),
        (
            dict(activation="softmax", class_agnostic=True),
            "activation='softmax' .* does not work with class_agnostic=True",
        ),
        (dict(activation="softmax", loss_mask=BCE), "needs a multinomial loss_mask"),
        (dict(loss_mask=dict(type="CrossEntropyLoss")), "needs a binary loss_mask"),
        (dict(num_classes=0), "num_classes must be positive, not 0"),
        (dict(upsample_cfg=dict(type="carafe")), "upsample_cfg.type must be one of"),
        (dict(upsample_cfg=dict(type="deconv", factor=2)), r"unknown options \['factor'\]"),
        (dict(upsample_cfg=dict(scale_factor=0.5)), "scale_factor must be a positive integer"),
        (dict(upsample_cfg=dict(type=None, scale_factor=2)), "scale_factor must be a positive"),
        (
            dict(roi_feat_size=14, mask_size=30),
            "mask_size=30 is not possible: .* gives masks of 28",
        ),
    ],
)
def test_bad_options(options: dict, message: str):
    with pytest.raises(UserError, match=message):
        build(**options)


SOFTMAX = dict(activation="softmax", loss_mask=dict(type="CrossEntropyLoss"), num_classes=2)


def test_softmax_of_sigmoids():
    """Probabilities of one channel, such as a mean over test-time augmentations, can be drawn."""
    head = build(**SOFTMAX)
    results = InstanceData(bboxes=torch.tensor([[2.0, 2, 30, 30]]), labels=torch.tensor([1]))
    meta = dict(scale_factor=(1.0, 1.0), ori_shape=(40, 30))
    arguments = dict(
        batch_img_metas=[meta], rcnn_test_cfg=ConfigDict(mask_thr_binary=0.5), activate_map=True
    )
    one = head.predict_by_feat([torch.full((1, 1, 28, 28), 0.9)], [results], **arguments)
    assert one[0].masks[0, 5:25, 5:25].all()
    with pytest.raises(UserError, match=r"Set roi_head\.type='AveragedCascadeRoIHead'"):
        head.predict_by_feat([torch.rand(1, 3, 28, 28)], [results], **arguments)


def test_interleaved_heads_are_sigmoids():
    with pytest.raises(UserError, match="InterleavedMaskHead needs activation='sigmoid'"):
        build(InterleavedMaskHead, **SOFTMAX)
    with pytest.raises(UserError, match="InterleavedMaskHead needs tower='fcn', not 'res5'"):
        build(InterleavedMaskHead, tower="res5")


def test_interleaved_heads_give_what_is_asked_for():
    head = build(InterleavedMaskHead, num_convs=1, with_conv_res=False)
    x = features(2)
    logits, tower = head(x)
    assert torch.equal(head(x, return_feat=False), logits)
    assert torch.equal(head(x, return_logits=False), tower)
    with pytest.raises(UserError, match="return_logits=True"):
        head(x, return_logits=False, return_feat=False)
    with pytest.raises(UserError, match="with_conv_res=False"):
        head(x, tower)


@pytest.mark.parametrize(
    "options", [dict(), dict(class_agnostic=True), dict(tower="mlp"), "softmax"]
)
def test_labels_of_any_type(options: dict | str):
    """Some detectors give labels in floating point; only whole numbers are classes."""
    head = build(**(SOFTMAX if options == "softmax" else options))
    x, labels = features(3), torch.tensor([1, 0, 1])
    logits = head(x, labels)
    assert torch.equal(head(x, labels.float()), logits)
    for found in (labels, labels.float(), labels.int()):
        chosen = head.predictor.probabilities(head(x), found)
        assert torch.equal(chosen, head.predictor.probabilities(head(x), labels))
    with pytest.raises(UserError, match=r"label 1\.5"):
        head(x, torch.tensor([0, 1.5, 2]))


@pytest.mark.parametrize("label", [-1, K])
def test_label_outside_the_classes(label: int):
    head = build()
    labels = torch.tensor([3, label])
    with pytest.raises(UserError, match=rf"label {label} is outside \[0, 80\)"):
        head(features(2), labels)
    sampled, ground_truth, _ = batch((5,))
    sampled[0].pos_gt_labels = torch.tensor([0, 1, label, 2, 3])
    with pytest.raises(UserError, match=rf"label {label} is outside"):
        head.loss_and_target(head(features(5)), sampled, ground_truth, TRAIN_CFG)


def test_mask_size_of_the_targets():
    head = build(num_convs=1)
    sampled, ground_truth, labels = batch((5,))
    with pytest.raises(UserError, match=r"mask_size=14, but the mask head gives 28 x 28"):
        cfg = ConfigDict(mask_size=14)
        head.loss_and_target(head(features(5), labels), sampled, ground_truth, cfg)
    mlp = build(tower="mlp", fc_out_channels=8, num_classes=2)
    with pytest.raises(UserError, match=r"roi_feat_size=14, but RoI features are 7 x 7"):
        mlp(features(2, size=7))
