"""Training in channels_last: the maps' format, the same losses, weights as they were."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from forked import finish, fork
from mmcv.ops import RoIAlign, SimpleRoIAlign
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmdet.registry import HOOKS, MODELS
from mmengine.registry import DefaultScope

from mmdet_maskr.benchmark import train_step
from mmdet_maskr.engine import ChannelsLastHook
from mmdet_maskr.engine.channels_last import turn_on_channels_last
from mmdet_maskr.errors import UserError


def test_maps_are_channels_last_and_losses_and_gradients_those_of_stock():
    setting = train_step.Setting("small", "maskr_mini_fpn.py", (96, 128), 2, 3, "SGD")
    ours, stock = (train_step.Step(setting, name) for name in ("ours", train_step.PEER))
    ours.model.load_state_dict(stock.model.state_dict(), strict=True)
    maps = []
    ours.model.neck.register_forward_hook(lambda *call: maps.extend(call[2]))
    ours()
    stock()
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps) and maps
    assert train_step.loss_difference(ours.losses, stock.losses) < train_step.LOSS_TOLERANCE
    for (name, found), expected in zip(
        ours.model.named_parameters(), stock.model.parameters(), strict=True
    ):
        assert found.is_contiguous() and found.grad.is_contiguous(), name
        difference = (found.grad - expected.grad).norm()
        assert difference <= 0.05 * expected.grad.norm() + 1e-4, name


def test_the_hook_converts_on_its_devices_only():
    with DefaultScope.overwrite_default_scope("mmdet"):
        hook = HOOKS.build(dict(type="ChannelsLastHook"))
    model = torch.nn.Module()
    model.backbone = torch.nn.Identity()
    elsewhere = ChannelsLastHook(devices=["cuda"])
    for chosen, converted in ((hook, True), (hook, True), (elsewhere, False)):
        chosen.before_run(SimpleNamespace(model=model))
        images = model.backbone(torch.rand(2, 3, 8, 8))
        assert images.is_contiguous(memory_format=torch.channels_last) == converted
        assert len(model.backbone._forward_pre_hooks) == 1
    with pytest.raises(UserError, match="tpu"):
        ChannelsLastHook(devices=["tpu"]).before_run(SimpleNamespace(model=model))


def test_backbones_are_found_wherever_they_are_and_models_without_are_left_alone():
    seen = []

    class Tracker(torch.nn.Module):
        def __init__(self, *names: str) -> None:
            super().__init__()
            for name in names:
                part = torch.nn.Module()
                part.backbone = torch.nn.Identity()
                setattr(self, name, part)

    for model in (Tracker("detector"), Tracker("student", "teacher"), Tracker(), Backboneless()):
        turn_on_channels_last(model)
        parts = [m for m in model.modules() if isinstance(m, torch.nn.Identity)]
        seen.append([part(torch.rand(2, 3, 8, 8)).stride(1) == 1 for part in parts])
    assert seen == [[True], [True, True], [], []]


class Backboneless(torch.nn.Module):
    """Such as DETR-like models of other projects whose backbone has another name."""

    backbone = None


def _deformable(name: str) -> torch.nn.Module:
    layer = MODELS.build(
        dict(type=name, in_channels=8, out_channels=8, kernel_size=3, padding=1, deform_groups=2)
    )
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.3)  # trained: zeros hide the fault
    return layer


class _Pooled(torch.nn.Module):
    """A RoI layer on maps, with RoIs of its own."""

    rois = torch.tensor([[0, 2.0, 3, 15, 18], [1, 1, 1, 10, 12.5]])

    def __init__(self, layer: torch.nn.Module, by_name: bool = False) -> None:
        super().__init__()
        self.layer, self.by_name = layer, by_name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.by_name:
            return self.layer(input=x, rois=self.rois)
        if isinstance(self.layer, BaseRoIExtractor):
            return self.layer([x], self.rois)
        return self.layer(x, self.rois)


def _mmcv_layers() -> dict[str, torch.nn.Module]:
    class Derived(RoIAlign):
        """A layer of the user's, in another file than mmcv's."""

    extractor = dict(
        type="SingleRoIExtractor",
        roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
        out_channels=8,
        featmap_strides=[1],
    )
    return dict(
        DCN=_deformable("DCN"),
        DCNv2=_deformable("DCNv2"),
        RoIAlign=_Pooled(RoIAlign(7, 1.0, 0)),
        keywords=_Pooled(RoIAlign(7, 1.0, 0), by_name=True),
        max=_Pooled(RoIAlign(7, 1.0, 2, pool_mode="max")),
        derived=_Pooled(Derived(7, 1.0, 0)),
        extractor=_Pooled(MODELS.build(extractor)),
        SimpleRoIAlign=_Pooled(SimpleRoIAlign((7, 7), 1.0)),
    )


@pytest.mark.parametrize(
    "name",
    ["DCN", "DCNv2", "RoIAlign", "keywords", "max", "derived", "extractor", "SimpleRoIAlign"],
)
def test_layers_of_mmcv_compute_the_same_forward_and_backward(name):
    pytest.importorskip("mmcv._ext")
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.backbone = torch.nn.Conv2d(3, 8, 3, padding=1)
    model.layer = _mmcv_layers()[name]
    x = torch.rand(2, 3, 20, 20)
    results = []
    for on in (False, True):
        if on:
            turn_on_channels_last(model)
        model.zero_grad()
        maps = model.backbone(x)
        assert maps.is_contiguous(memory_format=torch.channels_last) == on
        out = model.layer(maps)
        gradient = torch.linspace(-1, 1, out.numel()).view(out.shape)
        out.backward(gradient.contiguous(memory_format=torch.channels_last))
        results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [2, (1, 2)])
def test_few_channels_and_strided_1x1_convolutions_train(tmp_path, stride):
    """oneDNN ends the process there on processors with AVX-512, so that a child tries."""

    def train() -> None:
        model = torch.nn.Module()
        model.backbone = torch.nn.Identity()
        model.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(channels, 8, 1, stride) for channels in (2, 3, 8, 12, 15, 16)
        )
        turn_on_channels_last(model)
        for conv in model.layers:
            x = torch.rand(2, conv.in_channels, 160, 160, requires_grad=True)
            for _ in range(2):
                conv(model.backbone(x)).square().sum().backward()

    assert finish(fork(train, tmp_path / "log")) == 0
