"""The benchmark of ops in Python: both are used, in turn; without compiled ones it says so."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import pytest
from mmcv.ops.nms import NMSop

from mmdet_maskr import mmcv_extension
from mmdet_maskr.benchmark import ops, train_step
from mmdet_maskr.errors import UserError


def run(*options: str) -> None:
    parser = argparse.ArgumentParser()
    ops.add_ops(parser.add_subparsers())
    args = parser.parse_args(["ops", "--models", "mini", "--repeats", "1", *options])
    args.run(args)


def test_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    if not mmcv_extension.is_compiled():
        pytest.skip("needs MMCV's compiled extension")
    small = dataclasses.replace(train_step.SETTINGS["mini"], image=(64, 96), batch=2)
    monkeypatch.setitem(train_step.SETTINGS, "mini", small)
    run("--json", str(tmp_path / "ops.json"))
    training, detection = json.loads((tmp_path / "ops.json").read_text())["rows"]
    assert training["ours"]["median"] > 0 and detection["peer"]["median"] > 0
    assert training["max_loss_difference"] <= 1e-6 and detection["score"] <= 1e-6


def test_without_compiled_ops(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ops, "is_compiled", lambda: False)
    with pytest.raises(UserError, match=r"install_mmcv\.py --target DIR"):
        run()


def test_ops_are_changed_and_put_back():
    user = sys.modules[NMSop.__module__]
    before = user.ext_module
    with mmcv_extension.in_python():
        assert user.ext_module.IN_PYTHON
    assert user.ext_module is before
