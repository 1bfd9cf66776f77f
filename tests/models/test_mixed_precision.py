"""Mixed precision runs through every branch, in training and in prediction, and near float32.

On a CPU in bfloat16, on a GPU in float16 (with loss scaling) and bfloat16.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from thin_configs import load, thin, walk
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.models import InstanceTTAModel, ParallelRoIHead
from mmdet_maskr.ops.mask_rle import RLEMasks

PRECISIONS = [
    pytest.param("cpu", torch.bfloat16, id="cpu-bfloat16"),
    *(
        pytest.param(
            "cuda",
            dtype,
            id=f"cuda-{name}",
            marks=[
                pytest.mark.cuda,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        )
        for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16))
    ),
]


def as_in(convention: str) -> dict:
    """Options of the parts that follow Detectron2 or torchvision, as converted models have them."""
    sizes = [[16], [32], [64], [128]]
    options: dict = {
        "rpn_head.anchor_generator": dict(
            _delete_=True,
            type="SizedAnchorGenerator",
            convention=convention,
            strides=[4, 8, 16, 32],
            sizes=sizes,
        ),
        "rpn_head.bbox_coder": coder(1, 1, 1, 1),
        "roi_head.bbox_head.bbox_coder": coder(10, 10, 5, 5),
        "roi_head.bbox_roi_extractor.level_rule": convention,
        "roi_head.mask_roi_extractor.level_rule": convention,
        "train_cfg.rpn_proposal.convention": convention,
        "test_cfg.rpn.convention": convention,
        "test_cfg.rcnn.convention": convention,
    }
    if convention == "torchvision":
        options["backbone.norm_cfg"] = dict(_delete_=True, type="UnfusedFrozenBN")
        options["roi_head.bbox_head.loss_cls"] = dict(
            _delete_=True, type="UnusedClassesCrossEntropyLoss", num_unused=2
        )
    return options


def coder(*weights: int) -> dict:
    return dict(_delete_=True, type="WeightedBoxCoder", weights=list(weights))


FPN = "mini/ablation_fpn"
ROI_LAYERS = [f"roi_head.{branch}_roi_extractor.roi_layer" for branch in ("bbox", "mask")]


def roi_layer(name: str, **options: object) -> dict:
    """Options for RoIs of 7 x 7 bins in both branches."""
    layer = dict(_delete_=True, type=name, output_size=7, **options)
    return dict.fromkeys(ROI_LAYERS, layer) | {"train_cfg.rcnn.mask_size": 14}


# Of each form a config, and options of its model.
FORMS: dict[str, tuple[str, dict]] = {
    "box": ("ablations/table_5/maskr_mini_figure_box", {}),
    "box, R50": ("compositions/faster_r50_fpn_1x", {}),
    "mask for each class": (FPN, {}),
    "mask for all classes": (FPN, {"roi_head.mask_head.class_agnostic": True}),
    "mask by softmax": ("ablations/table_2b/maskr_mini_c4_softmax", {}),
    "mask by MLP": ("ablations/table_2e/maskr_mini_fpn_mlp2", {}),
    "mask, bilinear": (
        FPN,
        {"roi_head.mask_head.upsample_cfg": dict(type="bilinear", scale_factor=2)},
    ),
    "keypoint": ("maskr_keypoint_r50_fpn_90k", {}),
    "mask and keypoint": ("mini/ablation_keypoint_mask", {}),
    "joint": ("maskr_joint_r50_fpn_1x", {}),
    "C4, res5 and mask": ("maskr_r50_c4_1x", {}),
    "C4 of Detectron2": ("maskr_r50-caffe_c4_ms-1x", {}),
    "C5": ("maskr_r50_c5_1x", {}),
    "dilated C5": ("maskr_r50-caffe_dc5_ms-1x", {}),
    "ViT": ("maskr_vit-b_sfp_lsj-100e", {}),
    "RoIAlign, max": (FPN, roi_layer("RoIAlign", pool_mode="max")),
    "RoIPool": (FPN, roi_layer("RoIPool")),
    "RoIPool on C4": ("ablations/table_2c/maskr_mini_c4_roipool_max", {}),
    "RoIWarp": (FPN, roi_layer("RoIWarp")),
    "RoIWarp, max": (FPN, roi_layer("RoIWarp", pool_mode="max")),
    "cascade": ("compositions/cascade_maskr_r50_fpn_1x", {}),
    "averaged cascade": (
        "compositions/cascade_maskr_r50_fpn_1x",
        {"roi_head.type": "AveragedCascadeRoIHead", "test_cfg.rcnn.convention": "detectron2"},
    ),
    "hybrid task cascade": ("compositions/htc_without_semantic_r50_fpn_1x", {}),
    "Detectron2's conventions": (FPN, as_in("detectron2")),
    "torchvision's conventions": (FPN, as_in("torchvision")),
}
CLASSES = 3
HEIGHT, WIDTH = 96, 128
# Objects of two images, and proposals around and between them; none overlap by half.
OBJECTS = ([[8.0, 8, 60, 50], [70, 30, 120, 90]], [[20.0, 4, 70, 80]])
PROPOSALS = (
    [[6.0, 10, 58, 54], [72, 26, 118, 92], [2, 56, 40, 94], [66, 2, 124, 26], [30, 40, 80, 90]],
    [[18.0, 6, 74, 76], [78, 10, 124, 50], [80, 56, 126, 90], [2, 60, 40, 94]],
)


def build(name: str, data_root: Path) -> nn.Module:
    """A thin model with three classes, whose random weights make a difference everywhere."""
    config, options = copy.deepcopy(FORMS[name])
    cfg = thin(load(f"{config}.py"), data_root)
    cfg.merge_from_dict({f"model.{key}": value for key, value in options.items()})
    for part in walk(cfg.model):
        if "num_classes" in part:
            part["num_classes"] = CLASSES
        if part.get("keypoint_labels"):
            part["keypoint_labels"] = [0]
    cfg.model.test_cfg.rcnn.max_per_img = 100
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for parameter_name, parameter in model.named_parameters():
        if parameter.dim() > 1 and 0 < parameter.std() < 0.05 and "backbone" not in parameter_name:
            parameter.data *= 0.05 / parameter.std()  # last layers start with next to nothing
    calibrate(model)
    return model


@torch.no_grad()
def calibrate(model: nn.Module) -> None:
    """Statistics of the images for batch normalization, which later steps leave as they are."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.weight.data.clamp_(min=0.2)  # that of a block's last is zero at first
    model.train()
    for norm in norms:
        norm.train()
    model.extract_feat(images())
    for norm in norms:
        norm.momentum = 0.0
    model.train()  # some keep their statistics then


def images() -> Tensor:
    return torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def samples(model: nn.Module, device: str) -> list[DetDataSample]:
    """Ground truth of the images, which are half as large as the network sees them."""
    keypoints = getattr(getattr(model.roi_head, "keypoint_head", None), "num_keypoints", 1)
    found = []
    for boxes in OBJECTS:
        size = (HEIGHT, WIDTH)
        meta = dict(img_shape=size, ori_shape=(48, 64), scale_factor=(2.0, 2.0), flip=False)
        meta.update(pad_shape=size, batch_input_shape=size, flip_direction=None)
        sample = DetDataSample(metainfo=meta)
        masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.uint8)
        points = torch.zeros(len(boxes), keypoints, 3)
        for mask, point, (x1, y1, x2, y2) in zip(masks, points, boxes, strict=True):
            mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
            share = torch.linspace(0.1, 0.9, keypoints)
            point[:, 0], point[:, 1], point[:, 2] = x1 + share * (x2 - x1), (y1 + y2) / 2, 2
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes),
            labels=torch.arange(len(boxes)),
            masks=BitmapMasks(masks.numpy(), HEIGHT, WIDTH),
            keypoints=points,
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        found.append(sample.to(device))
    return found


def fix_proposals(model: nn.Module) -> None:
    """Let the RPN rank, and go on with PROPOSALS: in a random model its order is chance."""
    rank = model.rpn_head.predict_by_feat

    def predict_by_feat(*args, **kwargs) -> list[InstanceData]:
        found = rank(*args, **kwargs)
        for proposals in found:
            assert len(proposals) > 0
            assert proposals.bboxes.dtype == proposals.scores.dtype == torch.float32
            assert torch.isfinite(proposals.bboxes).all()
        device = found[0].bboxes.device
        fixed = (torch.tensor(boxes, device=device) for boxes in PROPOSALS)
        return [InstanceData(bboxes=boxes, scores=boxes.new_ones(len(boxes))) for boxes in fixed]

    model.rpn_head.predict_by_feat = predict_by_feat


def check_logits(model: nn.Module) -> None:
    """See to it that branches of our RoI head give float32: losses and ranks are made of that."""

    def checked(branch: Callable) -> Callable:
        def forward(*args, **kwargs):
            outputs = branch(*args, **kwargs)
            named = outputs if isinstance(outputs, dict) else dict(logits=outputs)
            types = {value.dtype for key, value in named.items() if not key.endswith("_feats")}
            assert types == {torch.float32}
            return outputs

        return forward

    if isinstance(model.roi_head, ParallelRoIHead):
        for name in ("_bbox_forward", "_mask_forward", "keypoint_forward"):
            setattr(model.roi_head, name, checked(getattr(model.roi_head, name)))


def losses_and_gradients(
    model: nn.Module, device: str, dtype: torch.dtype | None
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Of one step; ``dtype`` None for float32. Gradients of a part are one vector."""
    model.zero_grad()
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10, enabled=dtype == torch.float16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    torch.manual_seed(3)  # of the samplers
    data = samples(model, device)
    with torch.autocast(device, dtype, enabled=dtype is not None):
        losses = model.loss(images().to(device), data)
        total, log = model.parse_losses(losses)
    scaler.scale(total).backward()
    scaler.unscale_(optimizer)
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.dtype == torch.float32
            steps = name.split(".")
            part = ".".join(steps[:2] if steps[0] == "roi_head" else steps[:1])
            parts.setdefault(part, []).append(parameter.grad.flatten().clone())
    gradients = {part: torch.cat(vectors) for part, vectors in parts.items()}
    return {name: value.item() for name, value in log.items() if "loss" in name}, gradients


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
@pytest.mark.parametrize("name", FORMS)
def test_training(name: str, device: str, dtype: torch.dtype, shapes_root: Path):
    """Losses and gradients of every part are those of float32, but for rounding."""
    model = build(name, shapes_root).to(device)
    fix_proposals(model)
    check_logits(model)
    wanted, exact = losses_and_gradients(model, device, None)
    found, gradients = losses_and_gradients(model, device, dtype)
    assert found.keys() == wanted.keys() and gradients.keys() == exact.keys()
    for loss, value in wanted.items():
        assert abs(found[loss] - value) <= 0.1 * max(value, 0.1), loss
    for part, vector in gradients.items():
        assert torch.isfinite(vector).all(), part
        assert torch.cosine_similarity(vector, exact[part], dim=0) > 0.7, part
        assert 0.8 < vector.norm() / exact[part].norm() < 1.25, part


@torch.no_grad()
def predict(model: nn.Module, device: str, dtype: torch.dtype | None) -> list[InstanceData]:
    """Detections in pixels of the original images; ``dtype`` None for float32."""
    data = samples(model, device)
    with torch.autocast(device, dtype, enabled=dtype is not None):
        results = model.predict(images().to(device), data)
    return [result.pred_instances.cpu() for result in results]


def check_form(found: InstanceData, model: nn.Module) -> None:
    """Types and shapes of what each branch gives."""
    count = len(found)
    types = dict(bboxes=torch.float32, scores=torch.float32, labels=torch.int64)
    shapes: dict[str, tuple] = dict(bboxes=(count, 4), scores=(count,), labels=(count,))
    if model.roi_head.with_mask:
        types["masks"], shapes["masks"] = torch.bool, (count, 48, 64)
    if getattr(model.roi_head, "with_keypoint", False):
        keypoints = model.roi_head.keypoint_head.num_keypoints
        types.update(keypoints=torch.float32, keypoint_scores=torch.float32)
        shapes.update(keypoints=(count, keypoints, 2), keypoint_scores=(count, keypoints))
    assert {key: value.dtype for key, value in found.items()} == types
    assert {key: tuple(value.shape) for key, value in found.items()} == shapes
    assert all(torch.isfinite(value.float()).all() for value in found.values())


def check_near(found: InstanceData, wanted: InstanceData) -> None:
    """Each detection has its own partner of the same class near it, and all else is alike.

    A few masks and keypoints may differ more: random ones are even at their edges and peaks.
    """
    assert len(found) == len(wanted) > 0
    distance = (found.bboxes[:, None] - wanted.bboxes).abs().amax(2)
    distance[found.labels[:, None] != wanted.labels] = torch.inf
    gap, partner = distance.min(1)
    assert gap.max() < 1.5 and len(partner.unique()) == len(wanted)
    wanted = wanted[partner]
    assert (found.scores - wanted.scores).abs().max() < 0.1
    if "masks" in wanted:
        assert (found.masks != wanted.masks).sum() < 0.25 * wanted.masks.sum()
    if "keypoints" in wanted:
        moved = (found.keypoints - wanted.keypoints).abs().amax(2)
        assert (moved < 1).float().mean() > 0.5
        torch.testing.assert_close(
            found.keypoint_scores.mean(1), wanted.keypoint_scores.mean(1), rtol=0.3, atol=0
        )


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
@pytest.mark.parametrize("name", FORMS)
def test_prediction(name: str, device: str, dtype: torch.dtype, shapes_root: Path):
    """What a validation loop with ``fp16=True`` does: all of the prediction is under autocast."""
    model = build(name, shapes_root).to(device).eval()
    fix_proposals(model)
    for found, wanted in zip(
        predict(model, device, dtype), predict(model, device, None), strict=True
    ):
        check_form(found, model)
        check_near(found, wanted)


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
def test_rles_are_the_dense_masks(device: str, dtype: torch.dtype, shapes_root: Path):
    """Bit by bit on a CPU; on a GPU dense masks are pasted there, RLEs on the CPU."""
    model = build("mask and keypoint", shapes_root).to(device).eval()
    fix_proposals(model)
    dense = predict(model, device, dtype)
    model.roi_head.test_cfg["mask_output"] = "rle"
    for found, wanted in zip(predict(model, device, dtype), dense, strict=True):
        assert isinstance(found.masks, RLEMasks) and wanted.masks.any()
        differing = (torch.from_numpy(found.masks.astype(bool)) != wanted.masks).sum()
        assert differing <= (0 if device == "cpu" else 1e-3 * wanted.masks.sum())


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
def test_test_time_augmentation(device: str, dtype: torch.dtype, shapes_root: Path):
    """Masks and keypoints of merged boxes; here of one form of each image."""
    model = build("mask and keypoint", shapes_root).to(device).eval()
    fix_proposals(model)
    pixels = [image * 50 + 120 for image in images()]
    data = dict(inputs=[pixels], data_samples=[samples(model, "cpu")])
    tta = InstanceTTAModel(module=model)
    with torch.autocast(device, dtype):
        merged = tta.test_step(copy.deepcopy(data))
    for found, exact in zip(merged, tta.test_step(data), strict=True):
        check_form(found.pred_instances.cpu(), model)
        check_near(found.pred_instances.cpu(), exact.pred_instances.cpu())
