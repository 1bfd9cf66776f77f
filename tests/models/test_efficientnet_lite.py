"""EfficientNet-Lite: the published weights give the published model's logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_maskr import pypi_weights
from mmdet_maskr.checkpoint_files import read_checkpoint
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import EfficientNetLite
from mmdet_maskr.models.backbones.efficientnet_lite import SamePad, blocks_of

SIDES = dict(lite0=224, lite1=240, lite2=260)  # of the images that they were trained on


def with_weights(arch: str, **options: object) -> tuple[EfficientNetLite, dict[str, Tensor]]:
    """The backbone with the published weights, and the file's content."""
    reference = f"pypi://efficientnet-{arch}"
    try:
        file = pypi_weights.packaged_file(reference)
    except UserError as error:
        pytest.skip(str(error))
    init_cfg = dict(type="Pretrained", checkpoint=reference)
    model = MODELS.build(dict(type="EfficientNetLite", arch=arch, init_cfg=init_cfg, **options))
    model.init_weights()
    return model.eval(), read_checkpoint(str(file))


def logits_of(model: EfficientNetLite, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """(B, 1000): the classifier's last layers on the last map."""
    x = F.conv2d(model(x)[-1], state["_conv_head.weight"])
    norm = [state[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    x = F.relu6(F.batch_norm(x, *norm, eps=1e-3)).mean((2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


@pytest.mark.parametrize("arch", SIDES)
def test_logits_are_the_published_models(arch: str):
    """1000 logits within 1e-5 of efficientnet_lite_pytorch's, at the size that it is made for.

    Sides of maps are odd on the way: 33, 17 and 9 of 260.
    """
    package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="compares with efficientnet_lite_pytorch"
    )
    model, state = with_weights(arch)
    expected = package.EfficientNet.from_name(f"efficientnet-{arch}")
    expected.load_state_dict(state)
    x = torch.randn(2, 3, SIDES[arch], SIDES[arch])
    with torch.no_grad():
        found, wanted = logits_of(model, state, x), expected.eval()(x)
    assert wanted.std() > 0.1
    assert float((found - wanted).abs().max()) < 1e-5


def test_weights_of_the_packages_fit():
    """All of them, with the classifier left over; and of fewer stages."""
    model, state = with_weights("lite0")
    assert torch.equal(model.stem.conv.weight, state["_conv_stem.weight"])
    last = model.stages[4][-1].project.bn
    assert torch.equal(last.running_var, state["_blocks.15._bn2.running_var"])
    thin, _ = with_weights("lite0", out_indices=(1, 2))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for found, expected in zip(thin(x), model(x), strict=False):
            assert torch.equal(found, expected)


def test_weights_of_another_variant_are_refused():
    with_weights("lite0")
    init_cfg = dict(type="Pretrained", checkpoint="pypi://efficientnet-lite0")
    model = EfficientNetLite("lite2", init_cfg=init_cfg)
    with pytest.raises(UserError, match=r"lite0 do not fit this backbone: \d+ missing"):
        model.init_weights()


def test_own_file(tmp_path: Path):
    """A file with the names of the class, in a detector's checkpoint; and of other bands."""
    source = EfficientNetLite()
    state = {f"backbone.{name}": value for name, value in source.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / "detector.pth")
    init_cfg = dict(
        type="Pretrained", checkpoint=str(tmp_path / "detector.pth"), prefix="backbone."
    )
    target = EfficientNetLite(init_cfg=init_cfg)
    target.init_weights()
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name
    with pytest.raises(UserError, match=r"1 of another shape \(stem.conv.weight: \(32, 3, 3, 3\)"):
        EfficientNetLite(in_channels=5, init_cfg=init_cfg).init_weights()
    bands = EfficientNetLite(in_channels=1, init_cfg=dict(init_cfg, type="PretrainedBands"))
    bands.init_weights()
    gray = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        for found, expected in zip(
            bands.eval()(gray), source.eval()(gray.expand(-1, 3, -1, -1)), strict=True
        ):
            assert torch.allclose(found, expected, atol=1e-5)
    del state["backbone.stem.conv.weight"]
    torch.save(state, tmp_path / "detector.pth")
    with pytest.raises(UserError, match=r"1 missing \(stem.conv.weight\)"):
        EfficientNetLite(init_cfg=init_cfg).init_weights()


@pytest.mark.parametrize(("kernel", "height", "width"), [(3, 8, 7), (5, 9, 10), (3, 1, 2)])
def test_padding_is_tensorflows(kernel: int, height: int, width: int):
    """SAME: ceil(side / 2) results, the i-th of which is around pixel 2 i, or 2 i + 1 if even."""
    x = torch.randn(1, 1, height, width, dtype=torch.float64)
    weight = torch.randn(1, 1, kernel, kernel, dtype=torch.float64)
    found = F.conv2d(SamePad(kernel)(x), weight, stride=2)
    rows, columns = -(-height // 2), -(-width // 2)
    assert found.shape == (1, 1, rows, columns)
    starts = [max((n - 1) * 2 + kernel - side, 0) // 2 for n, side in
              ((rows, height), (columns, width))]  # fmt: skip
    for i in range(rows):
        for j in range(columns):
            total = 0.0
            for a in range(kernel):
                for b in range(kernel):
                    r, c = 2 * i + a - starts[0], 2 * j + b - starts[1]
                    if 0 <= r < height and 0 <= c < width:
                        total += float(weight[0, 0, a, b] * x[0, 0, r, c])
            assert float(found[0, 0, i, j]) == pytest.approx(total, abs=1e-12)


def test_maps():
    """Channels and strides are told; those of Lite 0 and 4 are Google's."""
    model = EfficientNetLite("lite0", out_indices=(0, 2, 4))
    assert model.channels == (16, 40, 320) and model.strides == (2, 8, 32)
    maps = model(torch.randn(1, 3, 64, 96))
    assert [m.shape[1:] for m in maps] == [(16, 32, 48), (40, 8, 12), (320, 2, 3)]
    largest = blocks_of("lite4")
    assert len(largest) == 30 and largest[-1].out == 448 and largest[0].channels == 32
    # 4.65 million parameters with a classifier of 1280 channels and 1000 classes
    whole = sum(p.numel() for p in EfficientNetLite("lite0").parameters())
    assert whole + 320 * 1280 + 2 * 1280 + 1281 * 1000 == 4652008


def test_what_is_frozen():
    model = EfficientNetLite(frozen_stages=2, norm_eval=False).train()
    assert not any(
        p.requires_grad for p in [*model.stem.parameters(), *model.stages[:2].parameters()]
    )
    assert all(p.requires_grad for p in model.stages[2:].parameters())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    frozen = 1 + sum(isinstance(m, nn.BatchNorm2d) for m in model.stages[:2].modules())
    assert [m.training for m in norms] == [False] * frozen + [True] * (len(norms) - frozen)
    assert not any(
        m.training for m in EfficientNetLite().train().modules() if isinstance(m, nn.BatchNorm2d)
    )


def test_saving_memory_changes_nothing():
    torch.manual_seed(0)
    plain, saving = EfficientNetLite(), EfficientNetLite(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 32, 32)
    for model in (plain, saving):
        model.train()
        sum(m.square().mean() for m in model(x)).backward()
    grads = [dict(m.named_parameters())["stem.conv.weight"].grad for m in (plain, saving)]
    assert torch.allclose(*grads, rtol=1e-4) and float(grads[0].abs().max()) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arch="b0"), "arch must be one of lite0"),
        (dict(out_indices=(1, 5)), r"out_indices=\(1, 5\)"),
        (dict(frozen_stages=6), "frozen_stages=6"),
    ],
)
def test_wrong_options(options: dict, message: str):
    with pytest.raises(UserError, match=message):
        EfficientNetLite(**options)


def test_other_initialization_is_refused():
    with pytest.raises(UserError, match="init_cfg must be None or"):
        EfficientNetLite(init_cfg=dict(type="Kaiming", layer="Conv2d")).init_weights()
