"""Training in channels_last: the maps' format, the same losses, weights as they were."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.registry import DefaultScope

from mmdet_maskr.benchmark import train_step
from mmdet_maskr.engine import ChannelsLastHook
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
    for chosen, converted in ((hook, True), (ChannelsLastHook(devices=["cuda"]), False)):
        model = torch.nn.Module()
        model.backbone = torch.nn.Identity()
        chosen.before_train(SimpleNamespace(model=model))
        images = model.backbone(torch.rand(2, 3, 8, 8))
        assert images.is_contiguous(memory_format=torch.channels_last) == converted
    with pytest.raises(UserError, match="tpu"):
        ChannelsLastHook(devices=["tpu"]).before_train(SimpleNamespace(model=model))
