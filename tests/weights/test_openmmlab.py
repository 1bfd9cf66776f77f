"""mmdet's own models, 3.x and 2.x: converted, they predict what they predicted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import from_mmdet
from mmdet_maskr.weights.openmmlab import MMDetModel
from mmdet_maskr.weights.output import build

THIN = """
model.backbone.base_channels = 8
model.backbone.init_cfg = None
model.neck.in_channels = [32, 64, 128, 256]
model.neck.out_channels = 16
model.rpn_head.update(in_channels=16, feat_channels=16)
model.roi_head.bbox_roi_extractor.out_channels = 16
model.roi_head.mask_roi_extractor.out_channels = 16
model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=3)
model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16, num_classes=3)
model.test_cfg.rcnn.score_thr = 0.2
"""


def stock_config() -> ConfigDict:
    """mmdet's mask-rcnn_r50_fpn, thin, with its own parts."""
    cfg = get_config("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py")
    model = cfg.model
    exec(THIN, dict(model=model))
    return cfg


def predict(model: torch.nn.Module) -> DetDataSample:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, 96, 128), generator=generator)
    meta = dict(img_shape=(96, 128), ori_shape=(96, 128), scale_factor=(1.0, 1.0))
    batch = model.data_preprocessor(
        dict(inputs=[image], data_samples=[DetDataSample(metainfo=meta)])
    )
    with torch.no_grad():
        return model.predict(batch["inputs"], batch["data_samples"])[0].pred_instances


def same_predictions(stock: torch.nn.Module, conversion) -> None:
    model = build(conversion.settings["model"])
    model.load_state_dict(conversion.state)
    expected, found = predict(stock), predict(model)
    assert len(expected) == len(found) > 5
    assert torch.equal(expected.labels, found.labels)
    torch.testing.assert_close(found.bboxes, expected.bboxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)
    differing = (torch.as_tensor(found.masks) != expected.masks).sum()
    assert differing <= 1e-3 * expected.masks.sum()


@pytest.fixture(scope="module")
def stock() -> tuple[Config, torch.nn.Module]:
    cfg = stock_config()
    init_default_scope("mmdet")  # fixtures of a module are made before those of a test
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for parameter in model.roi_head.parameters():
        parameter.data *= 2  # scores that differ
    return cfg, model.eval()


def test_mmdet_3(stock, tmp_path: Path):
    cfg, model = stock
    cfg.dump(tmp_path / "mask_rcnn.py")
    meta = dict(dataset_meta=dict(classes=("cat", "dog", "owl")))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / "epoch_1.pth")
    conversion = from_mmdet(tmp_path / "epoch_1.pth", tmp_path / "mask_rcnn.py")
    roi_head = conversion.settings["model"]["roi_head"]
    assert roi_head["type"] == "ParallelRoIHead"
    assert roi_head["mask_head"]["type"] == "ComposedMaskHead"
    assert roi_head["bbox_roi_extractor"]["type"] == "LevelRoIExtractor"
    dataset = conversion.settings["train_dataloader"]["dataset"]
    assert dataset["metainfo"]["classes"] == ("cat", "dog", "owl")
    assert dataset["pipeline"][2]["type"] == "Resize"
    same_predictions(model, conversion)


OLD = """
img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[57.0, 58.0, 59.0], to_rgb=False)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiScaleFlipAug', img_scale=(1000, 600), flip=False, transforms=[
        dict(type='Resize', keep_ratio=True), dict(type='RandomFlip'),
        dict(type='Normalize', **img_norm_cfg), dict(type='Pad', size_divisor=32),
        dict(type='ImageToTensor', keys=['img']), dict(type='Collect', keys=['img'])])]
data = dict(samples_per_gpu=2, test=dict(type='CocoDataset', pipeline=test_pipeline))
"""


@pytest.mark.parametrize("outside", [False, True], ids=["in the model", "next to the model"])
def test_mmdet_2(stock, tmp_path: Path, outside: bool):
    """Pixel statistics stand in the pipeline there, and once stood train_cfg next to the model."""
    cfg, model = stock
    given = cfg.model.to_dict()
    del given["data_preprocessor"]
    given["pretrained"] = "torchvision://resnet50"
    text = OLD
    if outside:
        text += f"train_cfg = {given.pop('train_cfg')}\ntest_cfg = {given.pop('test_cfg')}\n"
    (tmp_path / "old.py").write_text(text + f"model = {given}\n", encoding="utf-8")
    meta = dict(CLASSES=("cat", "dog", "owl"), mmdet_version="2.3.0")
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / "old.pth")
    conversion = from_mmdet(tmp_path / "old.pth", tmp_path / "old.py")
    preprocessor = conversion.settings["model"]["data_preprocessor"]
    assert preprocessor["mean"] == [103.53, 116.28, 123.675]
    assert preprocessor["bgr_to_rgb"] is False and preprocessor["pad_size_divisor"] == 32
    dataset = conversion.settings["test_dataloader"]["dataset"]
    assert dataset["pipeline"][1]["scale"] == (1000, 600)
    assert dataset["metainfo"]["classes"] == ("cat", "dog", "owl")
    caffe = MODELS.build(ConfigDict(cfg.model, data_preprocessor=preprocessor))
    caffe.load_state_dict(model.state_dict())
    same_predictions(caffe.eval(), conversion)


def test_levels_of_another_finest_scale(stock, tmp_path: Path):
    cfg = stock_config()
    cfg.model.roi_head.bbox_roi_extractor.finest_scale = 28
    cfg.dump(tmp_path / "c.py")
    torch.save(stock[1].state_dict(), tmp_path / "m.pth")
    conversion = from_mmdet(tmp_path / "m.pth", tmp_path / "c.py")
    expected = MODELS.build(cfg.model)
    expected.load_state_dict(stock[1].state_dict())
    same_predictions(expected.eval(), conversion)


def converted(cfg: Config, folder: Path) -> ConfigDict:
    """``model`` of the config that mmdet 3's becomes."""
    cfg.dump(folder / "c.py")
    return ConfigDict(MMDetModel(folder / "c.py", {}).model({}))


@pytest.mark.parametrize("finest_scale", [None, 28])
@pytest.mark.parametrize("strides", [[8, 16, 32, 64], [2, 4], [16]])
def test_levels_of_other_strides(tmp_path: Path, strides: list[int], finest_scale: int | None):
    """RoIs leave the finest level at mmdet's 56 pixels, or finest_scale, at any stride."""
    cfg = stock_config()
    given = cfg.model.roi_head.bbox_roi_extractor
    given.featmap_strides = strides
    if finest_scale is not None:
        given.finest_scale = finest_scale
    ours = MODELS.build(converted(cfg, tmp_path).roi_head.bbox_roi_extractor)
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 16, 512 // s, 512 // s, generator=generator) for s in strides]
    sides = torch.tensor([20.0, 40, 80, 160, 300, 500])
    rois = torch.stack([sides * 0, sides * 0, sides * 0, sides, sides], 1)
    assert type(ours).__name__ == "LevelRoIExtractor"
    torch.testing.assert_close(ours(maps, rois), MODELS.build(given)(maps, rois), atol=1e-4, rtol=0)


def test_other_roi_layers_stay(tmp_path: Path):
    """mmcv's RoIPool is not the layer of that name here."""
    cfg = stock_config()
    cfg.model.roi_head.bbox_roi_extractor.roi_layer = dict(type="RoIPool", output_size=7)
    head = converted(cfg, tmp_path).roi_head
    assert head.bbox_roi_extractor == cfg.model.roi_head.bbox_roi_extractor
    assert head.mask_roi_extractor.type == "LevelRoIExtractor"


CARAFE = dict(
    type="carafe", scale_factor=2, up_kernel=5, up_group=1, encoder_kernel=3, encoder_dilation=1,
    compressed_channels=64,
)  # fmt: skip


@pytest.mark.parametrize("options", [dict(upsample_cfg=CARAFE), dict(num_convs=9)])
def test_mask_heads_that_are_not_ours_stay(tmp_path: Path, options: dict):
    cfg = stock_config()
    cfg.model.roi_head.mask_head.update(options)
    stock = MODELS.build(cfg.model)
    torch.save(stock.state_dict(), tmp_path / "m.pth")
    cfg.dump(tmp_path / "c.py")
    settings = from_mmdet(tmp_path / "m.pth", tmp_path / "c.py").settings
    head = settings["model"]["roi_head"]["mask_head"]
    assert head == cfg.model.roi_head.mask_head.to_dict()


OLD_NAMES = dict(nms_across_levels=False, nms_pre=300, nms_thr=0.5, min_bbox_size=0)


def test_names_of_options_before_mmdet_2_11(stock, tmp_path: Path):
    """Twenty proposals after NMS at 0.5, where the defaults give hundreds."""
    cfg = stock_config()
    cfg.model.test_cfg.rpn = dict(OLD_NAMES, nms_post=20, max_num=20)
    cfg.model.train_cfg.rpn_proposal = dict(OLD_NAMES, nms_post=50)
    cfg.dump(tmp_path / "c.py")
    torch.save(stock[1].state_dict(), tmp_path / "m.pth")
    conversion = from_mmdet(tmp_path / "m.pth", tmp_path / "c.py")
    nms = dict(type="nms", iou_threshold=0.5)
    today = dict(nms_pre=300, min_bbox_size=0, max_per_img=20, nms=nms)
    training = conversion.settings["model"]["train_cfg"]["rpn_proposal"]
    assert training == dict(today, max_per_img=50)
    cfg.model.test_cfg.rpn = today
    expected = MODELS.build(cfg.model)
    expected.load_state_dict(stock[1].state_dict())
    same_predictions(expected.eval(), conversion)


def test_numbers_of_proposals_that_differ(tmp_path: Path):
    cfg = stock_config()
    cfg.model.test_cfg.rpn = dict(OLD_NAMES, nms_post=1000, max_num=300)
    with pytest.raises(UserError, match=r"test_cfg\.rpn has .*'max_num': 300.* max_per_img"):
        converted(cfg, tmp_path)
    cfg.model.test_cfg.rpn.max_per_img = 300  # as in configs of later versions
    assert "nms_post" not in converted(cfg, tmp_path).test_cfg.rpn


def test_other_configs(stock, tmp_path: Path):
    torch.save(stock[1].state_dict(), tmp_path / "m.pth")
    for text, message in (
        ("model = dict(type='RetinaNet')", "'RetinaNet'; one of"),
        ("x = 1", "None; one of"),
        ("1 / 0", "cannot be read: ZeroDivisionError"),
    ):
        (tmp_path / "c.py").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            from_mmdet(tmp_path / "m.pth", tmp_path / "c.py")
    with pytest.raises(UserError, match=r"needs the \.py file"):
        from_mmdet(tmp_path / "m.pth", tmp_path / "c.yaml")
