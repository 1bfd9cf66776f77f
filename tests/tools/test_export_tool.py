"""tools/export.py from the command line: what it writes, prints and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_maskr.benchmark.random_model import batch_of, build, calibrate, synthetic_photo
from mmdet_maskr.cli import export as body
from mmdet_maskr.deploy.export.check import Limits
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.errors import UserError


@pytest.fixture(scope="module")
def tool(repo: Path):
    sys.path.insert(0, str(repo / "tools"))
    import export

    return export


@pytest.fixture
def checkpoint(repo: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Config and weights of the shapes model; random, but something is detected."""
    config = repo / "configs" / "mini" / "maskr_shapes.py"
    model = build(Config.fromfile(config).model)
    calibrate(model, batch_of(synthetic_photo(96, 96)))
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / "model.pth")
    return config, tmp_path / "model.pth"


def call(tool, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
    tool.main()


def test_export_and_scores(
    tool, checkpoint, monkeypatch, capsys, tmp_path: Path, shapes_root: Path
):
    """File and PyTorch agree on images, and in their scores on the dataset."""
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    arguments = (*checkpoint, out, "--images", shapes_root / "val", "--threads", 1)
    call(tool, monkeypatch, *arguments, "--evaluate", "--data-root", f"{shapes_root}/")
    printed = capsys.readouterr().out
    assert "written: " in printed and "compared with PyTorch on 4 images" in printed
    assert "TOO FAR" not in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("coco/")]
    assert [row[0] for row in rows] == ["coco/bbox_mAP", "coco/segm_mAP", "coco/keypoints_mAP"]
    assert all(abs(float(row[3])) <= 0.2 for row in rows)
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["classes"][-1] == "figure" and metadata["keypoints"]["count"] == 9
    assert metadata["format"] == "onnx" and (out / "model.onnx").is_file()


def test_exit_code_if_too_far(tool, checkpoint, monkeypatch, capsys, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    nothing = Limits(iou=0.9, matched=1, score=-1, box=1, mask=1, keypoint=1)
    monkeypatch.setattr(body.check, "FP32", nothing)
    with pytest.raises(SystemExit) as caught:
        call(tool, monkeypatch, *checkpoint, tmp_path / "out")
    assert caught.value.code == 1
    assert "TOO FAR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--opset", 15), "--opset must be 16 to 20, not 15"),
        (("--int8",), "--int8 and --calibration FOLDER must be used together"),
        (("--int8", "--calibration", "x"), "--int8 needs --format openvino, not onnx"),
        (("--data-root", "x"), "--data-root needs --evaluate"),
        (("--images", "none.jpg"), "there is no image .*none.jpg"),
    ],
)
def test_options(tool, repo: Path, monkeypatch, tmp_path: Path, arguments: tuple, message: str):
    pytest.importorskip("onnxruntime")
    config = repo / "configs" / "mini" / "maskr_shapes.py"
    (tmp_path / "model.pth").write_bytes(b"")
    with pytest.raises(UserError, match=message):
        call(tool, monkeypatch, config, tmp_path / "model.pth", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_missing_checkpoint_ends_in_a_message(tool, repo: Path, monkeypatch, capsys, tmp_path):
    config = repo / "configs" / "mini" / "maskr_shapes.py"
    arguments = ["export.py", config, tmp_path / "none.pth", tmp_path, "--format", "torchscript"]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as caught:
        run_tool(tool.main)
    assert caught.value.code == 2
    assert "there is no file" in capsys.readouterr().err
