"""Small parts that converted models need: preprocessing, frozen normalization, unused classes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.models import UnfusedFrozenBN, UnitRangePreprocessor, UnusedClassesCrossEntropyLoss

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("stacked", [False, True])
def test_unit_range(stacked: bool):
    """Divided by 255 first, bit by bit as torchvision; DetDataPreprocessor to within rounding."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 40, 50), generator=generator, dtype=torch.uint8)
    results = {}
    for name, scale in (("UnitRangePreprocessor", 1), ("DetDataPreprocessor", 255)):
        preprocessor = MODELS.build(
            dict(
                type=name,
                mean=[v * scale for v in MEAN],
                std=[v * scale for v in STD],
                bgr_to_rgb=True,
                pad_size_divisor=32,
            )
        )
        inputs = image[None] if stacked else [image]
        sample = DetDataSample(metainfo=dict(img_shape=(40, 50)))
        results[name] = preprocessor(dict(inputs=inputs, data_samples=[sample]))["inputs"]
    found = results["UnitRangePreprocessor"]
    rgb = image.flip(0).float() / 255
    expected = (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert found.shape == (1, 3, 64, 64)
    assert torch.equal(found[0, :, :40, :50], expected)
    assert not found[0, :, 40:].any()
    torch.testing.assert_close(found, results["DetDataPreprocessor"], atol=1e-5, rtol=0)
    assert image.dtype == torch.uint8 and issubclass(UnitRangePreprocessor, DetDataPreprocessor)


def test_unfused_frozen_bn():
    """Same values as the fused operation, same names, nothing that trains."""
    generator = torch.Generator().manual_seed(0)
    stock = nn.BatchNorm2d(5)
    for tensor in (stock.weight.data, stock.bias.data, stock.running_mean):
        tensor.copy_(torch.randn(5, generator=generator))
    stock.running_var.copy_(torch.rand(5, generator=generator))
    layer = UnfusedFrozenBN(5).train()
    state = {k: v for k, v in stock.state_dict().items() if k != "num_batches_tracked"}
    layer.load_state_dict(state)
    x = torch.randn(2, 5, 6, 7, generator=generator)
    torch.testing.assert_close(layer(x), stock.eval()(x))
    assert not list(layer.parameters())
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    backbone = MODELS.build(
        dict(type="ResNet", depth=18, base_channels=4, norm_cfg=dict(type="UnfusedFrozenBN"))
    )
    assert isinstance(backbone.bn1, UnfusedFrozenBN)
    assert "layer1.0.bn2.running_var" in backbone.state_dict()


def test_unused_classes():
    """K = 3, U = 2: six logits; unused ones take their share and are never given."""
    head = MODELS.build(
        dict(
            type="BBoxHead",
            in_channels=4,
            num_classes=3,
            with_avg_pool=True,
            loss_cls=dict(type="UnusedClassesCrossEntropyLoss", num_unused=2),
        )
    )
    assert head.fc_cls.out_features == 6 and head.fc_reg.out_features == 12
    logits = torch.randn(7, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scores = head.loss_cls.get_activation(logits)
    assert torch.equal(scores, logits.softmax(-1)[:, :4])
    assert (scores.sum(1) < 1).all()
    labels = torch.tensor([0, 1, 2, 3, 3, 2, 1])
    losses = head.loss(
        logits,
        torch.zeros(7, 12, requires_grad=True),
        torch.zeros(7, 5),
        labels,
        torch.ones(7),
        torch.zeros(7, 4),
        torch.zeros(7, 4),
    )
    torch.testing.assert_close(losses["loss_cls"], F.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_unused=0), "num_unused must be positive"),
        (dict(num_unused=2, use_sigmoid=True), "works only with a softmax"),
    ],
)
def test_bad_unused_classes(options: dict, message: str):
    with pytest.raises(UserError, match=message):
        UnusedClassesCrossEntropyLoss(**options)
