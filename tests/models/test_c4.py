"""C4 bodies: res5 in the RoI head, and Detectron2's form against Detectron2's own outputs."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.shared_heads import ResLayer
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint

import mmdet_maskr  # noqa: F401  (registers its parts)
from mmdet_maskr.models import Res5Head

RENAMES = (  # Detectron2's names to ours, in this order
    (r"^backbone\.stem\.conv1\.norm", "backbone.bn1"),
    (r"^backbone\.stem\.conv1", "backbone.conv1"),
    (r"^roi_heads\.res5", "roi_head.shared_head.layer4"),
    (r"^backbone\.res(\d)", lambda m: f"backbone.layer{int(m[1]) - 1}"),
    (r"\.shortcut\.norm", ".downsample.1"),
    (r"\.shortcut", ".downsample.0"),
    (r"\.conv(\d)\.norm", r".bn\1"),
    (r"^proposal_generator\.rpn_head\.conv", "rpn_head.rpn_conv"),
    (r"^proposal_generator\.rpn_head\.objectness_logits", "rpn_head.rpn_cls"),
    (r"^proposal_generator\.rpn_head\.anchor_deltas", "rpn_head.rpn_reg"),
    (r"^roi_heads\.box_predictor\.cls_score", "roi_head.bbox_head.fc_cls"),
    (r"^roi_heads\.box_predictor\.bbox_pred", "roi_head.bbox_head.fc_reg"),
    (r"^roi_heads\.mask_head\.deconv", "roi_head.mask_head.upsample"),
    (r"^roi_heads\.mask_head\.predictor", "roi_head.mask_head.conv_logits"),
)


def renamed(name: str) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture(scope="module")
def reference(repo: Path) -> Path:
    folder = repo.parent / "shared" / "reference" / "detectron2" / "mask_rcnn_R_50_C4"
    if not folder.is_dir():
        pytest.skip(f"needs {folder} with outputs of Detectron2")
    return folder


@pytest.fixture(scope="module")
def model(repo: Path, reference: Path) -> torch.nn.Module:
    """The config's model with Detectron2's weights, which are a quarter as wide."""
    init_default_scope("mmdet")
    cfg = Config.fromfile(repo / "configs" / "maskr_r50-caffe_c4_ms-1x.py").model
    cfg.backbone.update(base_channels=16, init_cfg=None)
    cfg.rpn_head.update(in_channels=256, feat_channels=256)
    cfg.roi_head.shared_head.update(base_channels=16, init_cfg=None)
    cfg.roi_head.bbox_roi_extractor.out_channels = 256
    cfg.roi_head.bbox_head.in_channels = 512
    cfg.roi_head.mask_head.update(in_channels=512, conv_out_channels=32)
    model = MODELS.build(cfg).eval()
    with open(reference / "model_final.pkl", "rb") as file:
        weights = pickle.load(file)["model"]
    state = {renamed(name): torch.from_numpy(value) for name, value in weights.items()}
    # Detectron2 has the background last, as mmdet
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)

    return model


def test_detectron2_form(model: torch.nn.Module, reference: Path):
    """Features, proposals' logits and the branches' logits for given boxes."""
    expected = {k: torch.from_numpy(v) for k, v in np.load(reference / "outputs.npz").items()}
    image = torch.from_numpy(cv2.imread(str(reference / "image.png"))).permute(2, 0, 1)
    batch = model.data_preprocessor(dict(inputs=[image], data_samples=None))["inputs"]
    with torch.no_grad():
        x = model.extract_feat(batch)
        objectness, deltas = model.rpn_head(x)
        rois = bbox2roi([expected["boxes"]])
        boxes = model.roi_head._bbox_forward(x, rois)
        masks = model.roi_head.mask_head(boxes["bbox_feats"])
    for ours, theirs in (
        (x[0], "feature_res4"),
        (objectness[0], "rpn_objectness_0"),
        (deltas[0], "rpn_deltas_0"),
        (boxes["cls_score"], "cls_logits"),
        (boxes["bbox_pred"], "box_deltas"),
        (masks, "mask_logits"),
    ):
        assert torch.allclose(ours, expected[theirs], atol=1e-3), theirs


def test_detections_of_detectron2(model: torch.nn.Module, reference: Path):
    """The whole way, anchors, proposals, NMS and masks: the same 100 detections."""
    expected = np.load(reference / "outputs.npz")
    image = torch.from_numpy(cv2.imread(str(reference / "image.png"))).permute(2, 0, 1)
    shape = tuple(image.shape[1:])
    sample = DetDataSample(
        metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0), img_id=0)
    )
    with torch.no_grad():
        (result,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
    found = result.pred_instances
    assert len(found) == len(expected["det_boxes"]) == 100
    assert np.abs(found.scores.numpy() - expected["det_scores"]).max() < 1e-4
    assert np.abs(found.bboxes.numpy() - expected["det_boxes"]).max() < 0.05
    assert np.array_equal(found.labels.numpy(), expected["det_labels"])
    areas = found.masks.flatten(1).sum(1).numpy()
    assert np.abs(areas - expected["det_mask_area"]).max() <= 2


@pytest.mark.parametrize(("depth", "stride", "style"), [(50, 1, "pytorch"), (18, 2, "pytorch")])
def test_res5_is_mmdets(depth: int, stride: int, style: str):
    """At full width it is mmdet's ResLayer: the same weights give the same."""
    torch.manual_seed(0)
    theirs = ResLayer(depth, stage=3, stride=stride, style=style)
    theirs.eval()  # returns None
    ours = Res5Head(depth, stride=stride, style=style).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 1024 if depth == 50 else 256, 7, 7)
    assert torch.equal(ours(x), theirs(x))


def test_res5_starts_from_the_bodys_weights(tmp_path: Path):
    """The file of the backbone has res5 as layer4, which is what the head takes from it."""
    body = MODELS.build(dict(type="ResNet", depth=18, base_channels=8))
    body.init_weights()
    save_checkpoint(body.state_dict(), str(tmp_path / "body.pth"))
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "body.pth"))
    head = Res5Head(18, base_channels=8, init_cfg=init_cfg)
    head.init_weights()
    loaded = head.state_dict()
    assert len(loaded) == 30
    for name, value in body.layer4.state_dict().items():
        assert torch.equal(loaded[f"layer4.{name}"], value)


def test_res5_keeps_statistics_fixed():
    head = Res5Head(18, base_channels=8).train()
    norms = [m for m in head.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)


def test_unknown_depth():
    with pytest.raises(ValueError, match=r"shared_head\.depth must be one of \[18, 34, 50"):
        Res5Head(49)
