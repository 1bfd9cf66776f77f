"""The benchmark of training steps: both contenders work, equal losses, clear refusals."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch

from mmdet_maskr.benchmark import train_step
from mmdet_maskr.errors import UserError

SMALL = dataclasses.replace(train_step.SETTINGS["mini"], image=(64, 96), batch=2)


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setitem(train_step.SETTINGS, "mini", SMALL)
    parser = argparse.ArgumentParser()
    train_step.add_train_step(parser.add_subparsers())
    args = parser.parse_args(["train-step", "--models", "mini", "--repeats", "1", *options])
    args.run(args)


def test_table_and_json(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path):
    """Losses of both are in the file, equal within the tolerance; the profile names operators."""
    file = tmp_path / "step.json"
    run(monkeypatch, "--no-memory", "--profile", "--json", str(file))
    (row,) = json.loads(file.read_text())["rows"]
    assert row["ours"]["median"] > 0 and row["peer"]["median"] > 0
    assert row["losses"].keys() >= {"loss_rpn_cls", "loss_mask"} and row["losses"]["loss_mask"] > 0
    assert row["max_loss_difference"] <= train_step.LOSS_TOLERANCE
    assert "aten::convolution_backward" in capsys.readouterr().out


def test_peer_is_stock_mmdet():
    """Each of its parts comes from mmdet, with the weights of ours."""
    ours, stock = (train_step.Step(SMALL, name).model for name in ("ours", train_step.PEER))
    assert list(ours.state_dict()) == list(stock.state_dict())
    assert not [type(m) for m in stock.modules() if type(m).__module__.startswith("mmdet_maskr")]
    assert [type(m) for m in ours.modules() if type(m).__module__.startswith("mmdet_maskr")]


def test_differing_losses_are_an_error(monkeypatch: pytest.MonkeyPatch):
    original = train_step.model_config

    def changed(setting: train_step.Setting, name: str):
        config = copy.deepcopy(original(setting, name))
        if name == "ours":
            config.rpn_head.loss_cls.loss_weight = 1.01
        return config

    monkeypatch.setattr(train_step, "model_config", changed)
    with pytest.raises(UserError, match="losses differ by"):
        run(monkeypatch, "--no-memory")


def test_mixed_precision_needs_a_gpu(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="--amp needs --device cuda"):
        run(monkeypatch, "--amp", "bfloat16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="torch finds no GPU"):
        run(monkeypatch, "--device", "cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("options", [(), ("--amp", "float16"), ("--amp", "bfloat16")])
def test_on_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys, options: tuple[str, ...]):
    run(monkeypatch, "--device", "cuda", *options)
    assert "mini model" in capsys.readouterr().out
