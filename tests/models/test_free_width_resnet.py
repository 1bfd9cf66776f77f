"""ResNets of free width: mmdet's where it has them, known shapes where it has not."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.roi_heads.shared_heads import ResLayer
from mmdet.registry import MODELS

from mmdet_maskr.errors import UserError
from mmdet_maskr.models import FreeWidthResNet, FreeWidthStage


@pytest.mark.parametrize(
    ("stock", "ours"),
    [
        (dict(type="ResNet", base_channels=16), dict(base_channels=16, out_channels=64)),
        (
            dict(type="ResNeXt", groups=32, base_width=8, base_channels=64, style="caffe"),
            dict(base_channels=256, out_channels=256, groups=32, style="caffe", stem_channels=64),
        ),
    ],
    ids=["ResNet", "ResNeXt"],
)
def test_equals_mmdet(stock: dict, ours: dict):
    expected = MODELS.build(dict(stock, depth=50))
    model = FreeWidthResNet(50, **ours)
    expected.eval()  # mmdet's train() returns None, and so eval()
    model.eval()
    model.load_state_dict(expected.state_dict())
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for a, b in zip(model(x), expected(x), strict=True):
            assert torch.equal(a, b)


def test_wide_and_thin():
    """Wide ResNet-50-2: bottlenecks of 128 give 256; and 8 give 256, in two groups."""
    for width, groups in ((128, 1), (8, 2)):
        model = FreeWidthResNet(50, width, 256, groups=groups, stem_channels=64)
        block = model.layer2[0]
        assert block.conv2.weight.shape == (2 * width, 2 * width // groups, 3, 3)
        assert block.conv3.weight.shape == (512, 2 * width, 1, 1)
        assert model.layer1[0].downsample[0].weight.shape == (256, 64, 1, 1)


def test_stage_equals_mmdets_shared_head():
    expected = ResLayer(50, stage=3, stride=2, style="caffe")
    expected.eval()
    stage = FreeWidthStage(50, stage=3, stride=2, style="caffe").eval()
    stage.load_state_dict(expected.state_dict())
    x = torch.randn(2, 1024, 14, 14, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(stage(x), expected(x))


def test_statistics_are_kept_when_training():
    stage = FreeWidthStage(50, base_channels=8, out_channels=32).train()
    assert not stage.layer4[0].bn1.training
    assert FreeWidthStage(50, base_channels=8, norm_eval=False).train().layer4[0].bn1.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(depth=49), "depth must be one of"),
        (dict(depth=50, base_channels=48), "multiple of the bottleneck's width"),
        (dict(depth=50, groups=3), "groups=3 must divide"),
    ],
)
def test_bad_widths(options: dict, message: str):
    for part in (FreeWidthResNet, FreeWidthStage):
        with pytest.raises(UserError, match=message):
            part(**options)
