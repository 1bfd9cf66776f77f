"""timm's models as backbones: timm's own maps, weights by name and from files, what is frozen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmdet_maskr import safetensors_files
from mmdet_maskr.errors import MissingPackageError, UserError
from mmdet_maskr.models import TimmBackbone

# Small models of each family: their options, channels and strides of maps from stride 4 on.
FAMILIES = {
    "convnext_atto": ({}, (40, 80, 160, 320), (4, 8, 16, 32)),
    "mobilenetv3_small_050": ({}, (16, 24, 288), (8, 16, 32)),
    "mobilenetv4_conv_small_035": ({}, (16, 24, 32, 336), (4, 8, 16, 32)),
    "efficientnet_lite0": ({}, (24, 40, 112, 320), (4, 8, 16, 32)),
    "resnet10t": ({}, (64, 128, 256, 512), (4, 8, 16, 32)),
    "mvitv2_tiny": ({}, (96, 192, 384, 768), (4, 8, 16, 32)),
    "swinv2_tiny_window8_256": (
        dict(strict_img_size=False),
        (96, 192, 384, 768),
        (4, 8, 16, 32),
    ),
}


@pytest.fixture
def timm():
    """The package, where it can be imported: it imports torchvision."""
    pytest.importorskip("timm", reason="timm and torchvision are optional", exc_type=ImportError)
    import timm

    return timm


def build(model_name: str, **options: object) -> TimmBackbone:
    return MODELS.build(dict(type="TimmBackbone", model_name=model_name, **options))


def test_without_timm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match=r'pip install "mmdet-maskr\[timm\]"'):
        build("convnext_tiny")


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_timms(timm, name: str):
    """Channels first, of an image that is not square; every parameter has a gradient."""
    options, channels, strides = FAMILIES[name]
    model = build(name, options=options).eval()
    if name.startswith("mobilenetv3"):  # it has a map of stride 4 as well
        channels, strides = model.channels, model.strides
    assert (model.channels, model.strides) == (channels, strides)
    x = torch.randn(2, 3, 64, 96)
    maps = model(x)
    shapes = [(2, c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == shapes
    with torch.no_grad():
        theirs = model.body(x)[-len(maps) :]
    for found, expected in zip(maps, theirs, strict=True):
        if "swin" in name:
            expected = torch.stack([image.movedim(-1, 0) for image in expected])
        assert torch.equal(found, expected)
    sum(m.square().mean() for m in maps).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not without


def test_chosen_maps(timm):
    """What no map needs is not trained."""
    model = build("efficientnet_lite0", out_indices=(0, 2)).eval()
    assert model.channels == (16, 40) and model.strides == (2, 8)
    assert [m.shape[1] for m in model(torch.randn(1, 3, 32, 32))] == [16, 40]
    sum(m.square().mean() for m in model(torch.randn(1, 3, 32, 32))).backward()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in model.named_parameters() if p.grad is not None}
    assert "body.blocks.2.0.conv_dw.weight" in trained
    assert len(trained) < len(list(model.parameters())) / 2


def test_files(timm, tmp_path: Path):
    """Both formats; the classifier is left over and named; what lacks or is too much is refused."""
    source = timm.create_model("convnext_atto", num_classes=7)
    for value in source.state_dict().values():
        nn.init.normal_(value, std=0.1)
    state = source.state_dict()
    torch.save(state, tmp_path / "weights.pth")
    safetensors_files.write(tmp_path / "weights.safetensors", state, {})
    x = torch.randn(1, 3, 64, 64)
    expected = source.eval().forward_intermediates(x, intermediates_only=True)
    for file in ("weights.pth", "weights.safetensors"):
        init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / file))
        model = build("convnext_atto", init_cfg=init_cfg).eval()
        model.init_weights()
        with torch.no_grad():
            for found, wanted in zip(model(x), expected[-4:], strict=True):
                assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4)
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "weights.pth"))
    with pytest.raises(UserError, match=r"do not fit this backbone: \d+ of another shape"):
        build("convnext_femto", init_cfg=init_cfg).init_weights()
    torch.save({**state, "stages.9.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"1 without a place \(stages.9.weight\)"):
        build("convnext_atto", init_cfg=init_cfg).init_weights()
    torch.save({n: v for n, v in state.items() if "head.fc" not in n}, tmp_path / "weights.pth")
    build("convnext_atto", init_cfg=init_cfg).init_weights()
    state.pop("stem.0.weight")
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"1 missing \(stem.0.weight\)"):
        build("convnext_atto", init_cfg=init_cfg).init_weights()


def test_file_of_a_detector(timm, tmp_path: Path):
    source = build("mobilenetv4_conv_small_035")
    state = {f"backbone.{name}": value for name, value in source.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / "detector.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "detector.pth"), prefix="backbone")
    model = build("mobilenetv4_conv_small_035", init_cfg=init_cfg)
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


@pytest.mark.parametrize("channels", [1, 5])
def test_other_bands(timm, channels: int, tmp_path: Path):
    """timm makes the stem's weights: of one band, the sum of three."""
    source = timm.create_model("convnext_atto")
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "weights.pth"))
    model = build("convnext_atto", in_channels=channels, init_cfg=init_cfg)
    model.init_weights()
    stem, own = source.stem[0].weight, model.body.stem_0.weight
    assert own.shape[1] == channels
    if channels == 1:
        assert torch.allclose(own, stem.sum(1, keepdim=True), atol=1e-6)
    else:
        assert torch.allclose(own[:, 0], own[:, 3]) and float(own.std()) > 0
    assert len(model(torch.randn(1, channels, 32, 32))) == 4


def test_weights_by_name(timm, monkeypatch: pytest.MonkeyPatch):
    """timm fetches them; here it finds them where it would, so no network is needed."""
    asked = []
    create = timm.create_model

    def fetching(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        model = create(name, **options)
        if pretrained:
            asked.append(name)
            nn.init.constant_(model.stem_0.weight, 0.25)
        return model

    monkeypatch.setattr(timm, "create_model", fetching)
    for checkpoint, name in (
        ("timm://", "convnext_atto"),
        ("timm://convnext_atto.d2_in1k", "convnext_atto.d2_in1k"),
    ):
        model = build("convnext_atto", init_cfg=dict(type="Pretrained", checkpoint=checkpoint))
        model.init_weights()
        assert asked.pop() == name and float(model.body.stem_0.weight.min()) == 0.25
    other = dict(type="Pretrained", checkpoint="timm://convnext_tiny")
    with pytest.raises(UserError, match="another model than model_name=convnext_atto"):
        build("convnext_atto", init_cfg=other).init_weights()

    def offline(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        if pretrained:
            raise OSError("no network")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"cannot be loaded \(.*no network.*Use a file instead"):
        build(
            "convnext_atto", init_cfg=dict(type="Pretrained", checkpoint="timm://")
        ).init_weights()


@pytest.mark.parametrize(
    ("name", "first"), [("convnext_atto", "stages_1"), ("mobilenetv4_conv_small_035", "blocks.0")]
)
def test_what_is_frozen(timm, name: str, first: str):
    """Of ConvNeXt stem and first stage; of MobileNetV4 the stem alone, which gives its map 0."""
    model = build(name, frozen_stages=1, norm_eval=False).train()
    later = [p.requires_grad for n, p in model.body.named_parameters()]
    assert True in later and False in later
    switch = later.index(True)
    assert not any(later[:switch]) and all(later[switch:])
    assert [n for n, _ in model.body.named_parameters()][switch].startswith(first)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    if norms:
        assert not norms[0].training and all(m.training for m in norms[1:])
        fixed = build(name).train()
        assert not any(m.training for m in fixed.modules() if isinstance(m, nn.BatchNorm2d))
    assert all(p.requires_grad for p in build(name).train().parameters())


def test_layer_decay(timm):
    """ConvNeXt-atto's layers by timm: the stem's learning rate is the smallest."""
    detector = nn.Module()
    detector.backbone = build("convnext_atto")
    detector.neck = nn.Conv2d(8, 8, 1)
    wrapper = build_optim_wrapper(
        detector,
        dict(
            optimizer=dict(type="AdamW", lr=0.1, weight_decay=0.05),
            constructor="BackboneLayerDecayConstructor",
            paramwise_cfg=dict(decay_rate=0.5, norm_decay_mult=0.0),
        ),
    )
    names = {id(p): n for n, p in detector.named_parameters()}
    groups = {names[id(g["params"][0])]: g for g in wrapper.optimizer.param_groups}
    assert len(groups) == len(names)
    ids = detector.backbone.layer_ids()
    last = max(ids.values())
    assert ids["body.stem_0.weight"] == 0 < ids["body.stages_1.blocks.0.mlp.fc1.weight"] < last
    for name, group in groups.items():
        depth = ids.get(name.removeprefix("backbone."), last + 1)
        assert group["lr"] == pytest.approx(0.1 * 0.5 ** (last + 1 - depth)), name
    assert groups["backbone.body.stem_1.weight"]["weight_decay"] == 0.0
    assert groups["neck.weight"]["weight_decay"] == 0.05
    for name in ("mobilenetv4_conv_small_035", "mvitv2_tiny"):
        assert len(set(build(name).layer_ids().values())) > 3


def test_layer_decay_of_other_backbones():
    detector = nn.Module()
    detector.backbone = nn.Conv2d(3, 3, 1)
    cfg = dict(
        optimizer=dict(type="SGD", lr=0.1),
        constructor="BackboneLayerDecayConstructor",
        paramwise_cfg=dict(decay_rate=0.7),
    )
    with pytest.raises(UserError, match="Conv2d does not: use custom_keys"):
        build_optim_wrapper(detector, cfg)
    with pytest.raises(UserError, match=r"decay_rate .* must be above 0 and at most 1, not 7"):
        build_optim_wrapper(detector, dict(cfg, paramwise_cfg=dict(decay_rate=7)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(model_name="convnext_tyni"), "has no model convnext_tyni: did you mean convnext_"),
        (dict(model_name="hf-hub:timm/convnext_atto.d2_in1k"), "has no model hf-hub:"),
        (
            dict(model_name="convnext_atto", options=dict(no_such=1)),
            "not with the options .*no_such",
        ),
        (dict(model_name="convnext_atto", frozen_stages=5), "frozen_stages=5: .* has 4 maps"),
        (dict(model_name="mvitv2_tiny", frozen_stages=1), "does not tell where block.0"),
    ],
)
def test_wrong_options(timm, options: dict, message: str):
    with pytest.raises(UserError, match=message):
        build(**options)


def test_fixed_sizes(timm):
    """Swin V2 takes images of 256 x 256 unless it is told otherwise."""
    with pytest.raises(UserError, match=r"96 x 64 pixels .*strict_img_size=False"):
        build("swinv2_tiny_window8_256")(torch.randn(1, 3, 64, 96))
