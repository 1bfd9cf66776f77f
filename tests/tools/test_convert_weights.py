"""The converter from the command line: errors, nothing written, training on its result."""

from __future__ import annotations

import math
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdet_maskr.datasets import shapes
from mmdet_maskr.engine.launch import run_tool

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "weights"))
from detectron2_models import options, state_dict, write

ANCHORS = dict(ANCHOR_GENERATOR=dict(SIZES=[[8], [16], [32], [64], [128]]))


def run(repo: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=repo,
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(repo), OMP_NUM_THREADS="1"),
    )


@pytest.fixture(scope="module")
def tool(repo: Path):
    sys.path.insert(0, str(repo / "tools"))
    import convert_weights

    return convert_weights


def call(tool, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, arguments)])
    tool.main()


def test_wrong_source_ends_in_a_message(tool, monkeypatch, capsys, tmp_path: Path):
    """Exit code 2, a sentence that says what to do, and no folder."""
    checkpoint, _ = write(tmp_path, options({}), state_dict())
    arguments = ["convert_weights.py", checkpoint, tmp_path / "out", "--from", "torchvision"]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as caught:
        run_tool(tool.main)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "its names are those of detectron2 (--from detectron2)" in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated", "cannot be read"),
        ("code", "refused"),
        ("retinanet", "RetinaNet"),
        ("unfilled", "not filled"),
        ("option", "needs --source-config"),
        ("classes", "twice"),
    ],
)
def test_nothing_is_written(tool, monkeypatch, tmp_path: Path, damage: str, message: str):
    arrays, config = state_dict(), options({})
    extra: list = []
    if damage == "unfilled":
        del arrays["roi_heads.box_head.fc1.weight"]
    if damage == "retinanet":
        config["MODEL"]["META_ARCHITECTURE"] = "RetinaNet"
    if damage == "classes":
        extra = ["--classes", "cat,dog,cat"]
    checkpoint, path = write(tmp_path, config, arrays)
    if damage == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:10000])
    if damage == "code":
        checkpoint.write_bytes(pickle.dumps({"model": {"weight": np.zeros(1)}, "x": os.getcwd}))
    if damage != "option":
        extra += ["--source-config", path]
    with pytest.raises(ValueError, match=message):
        call(tool, monkeypatch, checkpoint, tmp_path / "out", "--from", "detectron2", *extra)
    assert not (tmp_path / "out").exists()


def test_trains_on_with_own_classes(repo: Path, tool, monkeypatch, tmp_path: Path, shapes_root):
    """--classes, then one training step of tools/train.py on that dataset."""
    checkpoint, config = write(tmp_path, options(ANCHORS), state_dict())
    out = tmp_path / "out"
    names = ",".join(shapes.CLASSES)
    call(
        tool, monkeypatch, checkpoint, out, "--from", "detectron2",
        "--source-config", config, "--classes", names,
    )  # fmt: skip
    cfg = Config.fromfile(out / "config.py")
    assert cfg.train_dataloader.dataset.metainfo.classes == tuple(shapes.CLASSES)
    assert cfg.load_from == f"{out}/model.pth"
    checkpoint = torch.load(out / "model.pth", weights_only=True)
    assert checkpoint["meta"]["dataset_meta"]["classes"] == tuple(shapes.CLASSES)
    state = checkpoint["state_dict"]
    assert state["roi_head.bbox_head.fc_cls.weight"].shape == (len(shapes.CLASSES) + 1, 16)
    assert state["roi_head.mask_head.conv_logits.weight"].shape[0] == len(shapes.CLASSES)
    assert 0 < state["roi_head.bbox_head.fc_cls.weight"].std() < 0.1  # as when starting anew
    kept = torch.from_numpy(state_dict()["roi_heads.box_head.fc1.weight"])
    assert torch.equal(state["roi_head.bbox_head.shared_fcs.0.weight"], kept)

    result = run(
        repo,
        "tools/train.py",
        out / "config.py",
        *("--work-dir", tmp_path / "work", "--data-root", shapes_root, "--cfg-options"),
        "train_dataloader.dataset.ann_file=annotations/instances_train.json",
        "train_dataloader.dataset.data_prefix.img=train/",
        "train_dataloader.dataset.pipeline.2.scale=(96,96)",
        "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False",
        "train_dataloader.dataset.indices=2",
        "train_cfg.max_epochs=1",
        "val_cfg=None",
        "val_dataloader=None",
        "val_evaluator=None",
        "default_hooks.logger.interval=1",
    )
    assert result.returncode == 0, result.stderr[-2000:]
    log = result.stdout + result.stderr
    assert "Load checkpoint from" in log
    losses = [float(value) for value in re.findall(r"loss_mask: (\S+)", log)]
    assert losses and all(map(math.isfinite, losses))
    assert "unexpected key" not in log and "missing keys" not in log
    assert (tmp_path / "work" / "epoch_1.pth").is_file()
