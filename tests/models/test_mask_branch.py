"""The mask branch inside detectors: its RoI heads, its outputs, the paper's ablations."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_rle import RLEMasks

SIZE = 96


@pytest.fixture(scope="module")
def config(repo: Path) -> Config:
    cfg = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    cfg.test_cfg.rcnn.score_thr = 0.1
    return cfg


def detector(config: Config, **options: object):
    """The mini model with dotted options of its config."""
    cfg = Config(dict(model=copy.deepcopy(config)))
    cfg.merge_from_dict({f"model.{key}": value for key, value in options.items()})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def samples() -> list[DetDataSample]:
    data = DetDataSample(
        metainfo=dict(
            img_shape=(SIZE, SIZE),
            pad_shape=(SIZE, SIZE),
            batch_input_shape=(SIZE, SIZE),
            ori_shape=(128, 128),
            scale_factor=(0.75, 0.75),
        )
    )
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)
    masks[0, 8:50, 8:60] = 1
    masks[1, 30:90, 40:90] = 1
    data.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 60, 50], [40, 30, 90, 90]]),
        labels=torch.tensor([1, 4]),
        masks=BitmapMasks(masks.numpy(), SIZE, SIZE),
    )
    data.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    return [data]


IMAGE = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_only_the_selected_channel_is_computed(config: Config):
    """In training and in prediction the per-class head gives one channel for each RoI."""
    model = detector(config)
    seen = []
    model.roi_head.mask_head.register_forward_hook(lambda head, x, y: seen.append(y.shape[1:]))
    model.loss(IMAGE, samples())
    with torch.no_grad():
        model.eval().predict(IMAGE, samples())
    assert seen == [(1, 28, 28)] * 2


def test_detector_equals_the_one_with_fcn_mask_head(config: Config):
    """Same losses, same predictions; and its checkpoint loads strictly."""
    theirs = detector(
        config, **{"roi_head.mask_head.type": "FCNMaskHead", "roi_head.type": "StandardRoIHead"}
    )
    ours = detector(config)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    losses = []
    for model in (theirs, ours):
        torch.manual_seed(3)
        losses.append(model.loss(IMAGE, samples())["loss_mask"])
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=1e-5)
    with torch.no_grad():
        expected, dense = (
            model.eval().predict(IMAGE, samples())[0].pred_instances for model in (theirs, ours)
        )
        ours.roi_head.test_cfg.mask_output = "rle"
        rle = ours.predict(IMAGE, samples())[0].pred_instances
    assert len(expected) > 0
    assert torch.equal(dense.bboxes, expected.bboxes) and torch.equal(rle.bboxes, expected.bboxes)
    assert (dense.masks != expected.masks).sum() <= 2  # logits differ by rounding: another product
    assert torch.equal(torch.from_numpy(rle.masks.astype(bool)), dense.masks)


@pytest.mark.parametrize("roi_head", ["ParallelRoIHead", "StandardRoIHead"])
@pytest.mark.parametrize(
    "options",
    [
        {
            "roi_head.mask_head.activation": "softmax",
            "roi_head.mask_head.loss_mask.use_mask": False,
        },
        {
            "roi_head.mask_head.tower": "mlp",
            "roi_head.mask_head.num_convs": 0,
            "roi_head.mask_head.fc_out_channels": 32,
        },
        {
            "roi_head.mask_head.class_agnostic": True,
            "roi_head.mask_head.upsample_cfg": dict(type="bilinear", scale_factor=4),
            "train_cfg.rcnn.mask_size": (56, 56),
        },
    ],
)
def test_forms_in_roi_heads(config: Config, roi_head: str, options: dict):
    model = detector(config, **{"roi_head.type": roi_head}, **options)
    loss = model.loss(IMAGE, samples())["loss_mask"]
    assert torch.isfinite(loss).all() and loss > 0
    with torch.no_grad():
        result = model.eval().predict(IMAGE, samples())[0].pred_instances
    assert result.masks.shape == (len(result), 128, 128) and len(result) > 0


@pytest.mark.parametrize("output", ["dense", "rle"])
def test_no_detections(config: Config, output: str):
    options = {"test_cfg.rcnn.score_thr": 1.0, "test_cfg.rcnn.mask_output": output}
    model = detector(config, **options).eval()
    with torch.no_grad():
        masks = model.predict(IMAGE, samples())[0].pred_instances.masks
    assert masks.shape == (0, 128, 128)
    assert isinstance(masks, RLEMasks if output == "rle" else torch.Tensor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_cfg.rcnn.mask_size": 30},
            "mask_size=30 is not possible: .* gives masks of 28 x 28",
        ),
        ({"roi_head.mask_head.roi_feat_size": 7}, "roi_feat_size=7, but the RoI layer gives 14"),
        ({"test_cfg.rcnn.mask_output": "png"}, r"mask_output must be one of \('dense', 'rle'\)"),
        (
            {"test_cfg.rcnn.mask_output": "rle", "roi_head.mask_head.type": "FCNMaskHead"},
            "mask_output='rle' needs mask_head.type='ComposedMaskHead', not FCNMaskHead",
        ),
    ],
)
def test_bad_options_of_the_detector(config: Config, options: dict, message: str):
    with pytest.raises(UserError, match=message):
        detector(config, **options)


def test_mixed_precision_gives_float32_logits(config: Config):
    model = detector(config)
    roi_head = model.roi_head
    x = tuple(torch.randn(1, 64, s, s) for s in (24, 12, 6, 3))
    rois = torch.tensor([[0.0, 8, 8, 60, 50]])
    with torch.autocast("cpu", torch.bfloat16):
        preds = roi_head._mask_forward(x, rois, labels=torch.tensor([2]))["mask_preds"]
    assert preds.dtype == torch.float32 and preds.shape == (1, 1, 28, 28)


# The configs of Tables 2b and 2e and of the class-agnostic comparison.

ABLATIONS = {
    "maskr_r50_c4_160k.py": (14, 80),
    "ablations/table_2b/maskr_r50_c4_softmax_160k.py": (14, 81),
    "maskr_r50_fpn_160k.py": (28, 80),
    "ablations/table_2e/maskr_r50_fpn_mlp2_160k.py": (28, 80),
    "ablations/table_2e/maskr_r50_fpn_mlp3_160k.py": (28, 80),
    "ablations/class_agnostic/maskr_r50_c4_class_agnostic_160k.py": (14, 1),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_train_and_predict(repo: Path, name: str):
    """One step with gradients of the mask branch, and a prediction; the MLP is made narrower."""
    cfg = Config.fromfile(repo / "configs" / name)
    cfg.model.backbone.init_cfg = None  # weights are not there to be downloaded
    cfg.model.test_cfg.rcnn.score_thr = 0.0
    cfg.model.test_cfg.rcnn.max_per_img = 3
    cfg.model.train_cfg.rcnn.sampler.num = 16
    cfg.model.test_cfg.rpn.max_per_img = 20
    if "mlp" in name:
        cfg.model.roi_head.mask_head.fc_out_channels = 64
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)  # not init_weights: res5's would be downloaded
    shapes = []
    model.roi_head.mask_head.register_forward_hook(lambda head, x, y: shapes.append(y.shape))
    loss = model.loss(IMAGE, samples())["loss_mask"]
    loss.sum().backward()
    gradients = [p.grad for p in model.roi_head.mask_head.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    size, channels = ABLATIONS[name]
    assert model.roi_head.mask_head.mask_size in (None, size)
    with torch.no_grad():
        results = model.eval().predict(IMAGE, samples())[0].pred_instances
    assert results.masks.shape == (3, 128, 128)
    selected = 1 if model.roi_head.mask_head.selects_channel else channels
    assert [shape[1:] for shape in shapes] == [(selected, size, size)] * 2
    assert model.roi_head.mask_head.predictor.out_channels == channels


def test_res5_starts_from_the_weights_of_the_backbone(repo: Path, tmp_path: Path):
    """In mmdet's C4 config it starts at random; here it reads layer4 of the same checkpoint."""
    resnet = MODELS.build(dict(type="ResNet", depth=50))
    torch.save(resnet.state_dict(), tmp_path / "resnet50.pth")
    cfg = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_r50_c4.py").model
    assert cfg.roi_head.shared_head.init_cfg == cfg.backbone.init_cfg
    cfg.roi_head.shared_head.init_cfg.checkpoint = str(tmp_path / "resnet50.pth")
    shared_head = MODELS.build(cfg.roi_head.shared_head)
    shared_head.init_weights()
    expected = {k: v for k, v in resnet.state_dict().items() if k.startswith("layer4")}
    state = shared_head.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    assert shared_head(torch.zeros(1, 1024, 7, 7)).shape == (1, 2048, 7, 7)
