"""Pretrained weights: names resolve without torchvision, and failures say what to do."""

from __future__ import annotations

import sys
import urllib.error
from collections.abc import Iterator

import mmengine.runner.checkpoint as checkpoints
import pytest
import torch
from mmdet.registry import MODELS

import mmdet_maskr  # noqa: F401  (replaces the loaders)
from mmdet_maskr import adjustments
from mmdet_maskr.pretrained import torchvision_urls

RESNET = dict(type="ResNet", depth=18, init_cfg=dict(type="Pretrained", checkpoint=""))


@pytest.fixture(autouse=True)
def own_calls() -> Iterator[None]:
    """As within this package's tools, runner and inferencer."""
    with adjustments.own_calls():
        yield


def initialize(name: str) -> None:
    init_cfg = dict(type="Pretrained", checkpoint=name)
    MODELS.build({**RESNET, "init_cfg": init_cfg}).init_weights()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("torchvision://resnet18", "https://download.pytorch.org/models/resnet18-"),
        ("open-mmlab://detectron2/resnet50_caffe", "https://download.openmmlab.com/"),
        ("https://example.org/weights.pth", "https://example.org/weights.pth"),
    ],
)
def test_names_become_addresses(name: str, url: str, monkeypatch: pytest.MonkeyPatch):
    """What is asked for is downloaded from its address; torchvision is not imported."""
    monkeypatch.setitem(sys.modules, "torchvision", None)
    asked = []

    def load_url(address: str, **options: object) -> dict:
        asked.append(address)
        return dict(state_dict={})

    monkeypatch.setattr(checkpoints, "load_url", load_url)
    checkpoints.CheckpointLoader.load_checkpoint(name, map_location="cpu")
    assert len(asked) == 1 and asked[0].startswith(url)


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("no route"), TimeoutError("timed out"), RuntimeError("invalid hash")],
)
def test_no_connection(error: Exception, monkeypatch: pytest.MonkeyPatch):
    """One sentence names the weights and the reason, one the options."""

    def load_url(*args: object, **options: object) -> dict:
        raise error

    monkeypatch.setattr(checkpoints, "load_url", load_url)
    with pytest.raises(ValueError, match=r"torchvision://resnet18 could not be loaded") as raised:
        initialize("torchvision://resnet18")
    message = str(raised.value)
    assert "model.backbone.init_cfg.checkpoint=FILE" in message
    assert "--cfg-options model.backbone.init_cfg=None" in message


def test_unknown_name():
    with pytest.raises(ValueError, match="there are no pretrained weights torchvision://resnet19"):
        initialize("torchvision://resnet19")


def test_a_file_serves(tmp_path):
    """The advice works: a file given as init_cfg.checkpoint is what the body starts from."""
    body = MODELS.build(dict(type="ResNet", depth=18, base_channels=8))
    body.init_weights()
    torch.save(body.state_dict(), tmp_path / "resnet.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "resnet.pth"))
    other = MODELS.build(dict(type="ResNet", depth=18, base_channels=8, init_cfg=init_cfg))
    other.init_weights()
    assert torch.equal(other.layer4[0].conv1.weight, body.layer4[0].conv1.weight)


def test_every_resnet_has_an_address():
    assert all(f"resnet{depth}" in torchvision_urls() for depth in (18, 34, 50, 101, 152))
