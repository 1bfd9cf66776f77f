"""tools/train.py and tools/test.py: resume, mixed precision, scaled rates, scores, pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from forked import run_tool

SETTINGS = ["train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False",
            "val_dataloader.num_workers=0", "val_dataloader.persistent_workers=False",
            "test_dataloader.num_workers=0", "test_dataloader.persistent_workers=False",
            "train_cfg.val_interval=10", "default_hooks.logger.interval=1",
            "model.test_cfg.rcnn.score_thr=0.0"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, repo: Path, shapes_root: Path) -> Path:
    """Work dir of a run of one epoch (two iterations of eight images)."""
    work_dir = tmp_path_factory.mktemp("work")
    train(repo, shapes_root, work_dir, "--cfg-options", *SETTINGS, "train_cfg.max_epochs=1")
    return work_dir


def call(repo: Path, tool: str, *args: str, formatted: bool = False) -> str:
    code, output = run_tool(repo / "tools" / tool, args, formatted=formatted)
    assert code == 0, output[-5000:]
    return output


def train(repo: Path, data: Path, work_dir: Path, *args: str, formatted: bool = False) -> str:
    config = str(repo / "configs" / "mini" / "maskr_shapes.py")
    common = ["--work-dir", str(work_dir), "--data-root", str(data)]
    return call(repo, "train.py", config, *common, *args, formatted=formatted)


def iterations(output: str) -> list[tuple[int, int]]:
    return [
        (int(e), int(i)) for e, i in re.findall(r"Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/", output)
    ]


def test_resume_goes_on(trained: Path, repo: Path, shapes_root: Path):
    assert (trained / "last_checkpoint").read_text().endswith("epoch_1.pth")
    settings = [*SETTINGS, "train_cfg.max_epochs=2"]
    output = train(repo, shapes_root, trained, "--resume", "--cfg-options", *settings)
    assert iterations(output) == [(2, 1), (2, 2)]
    assert (trained / "epoch_2.pth").is_file()


def test_resume_without_a_checkpoint_begins_from_load_from(
    trained: Path, repo: Path, shapes_root: Path, tmp_path: Path
):
    """A job that is always started with --resume begins from load_from, then goes on."""
    begin = trained / "epoch_1.pth"
    for epoch in (1, 2):
        settings = [*SETTINGS, f"train_cfg.max_epochs={epoch}", f"load_from={begin}"]
        output = train(repo, shapes_root, tmp_path, "--resume", "--cfg-options", *settings)
        assert iterations(output) == [(epoch, 1), (epoch, 2)]
        assert (f"Load checkpoint from {begin}" in output) == (epoch == 1)


def test_scores_and_pictures(trained: Path, repo: Path, shapes_root: Path, tmp_path: Path):
    config = str(repo / "configs" / "mini" / "maskr_shapes.py")
    output = call(
        repo, "test.py", config, str(trained / "epoch_1.pth"), "--work-dir", str(tmp_path),
        "--data-root", str(shapes_root), "--show-dir", "shown", "--out", str(tmp_path / "p.pkl"),
        "--cfg-options", *SETTINGS,
    )  # fmt: skip
    scores = json.loads(next(tmp_path.glob("*/*.json")).read_text())
    for kind in ("bbox", "segm", "keypoints"):
        assert f"coco/{kind}_mAP:" in output
        assert 0 <= scores[f"coco/{kind}_mAP"] <= 1
    assert len(list(tmp_path.glob("*/shown/*.png"))) == 4
    assert (tmp_path / "p.pkl").stat().st_size > 0


def test_test_time_augmentation(trained: Path, repo: Path, shapes_root: Path, tmp_path: Path):
    config = str(repo / "configs" / "mini" / "maskr_shapes.py")
    output = call(
        repo, "test.py", config, str(trained / "epoch_1.pth"), "--work-dir", str(tmp_path),
        "--data-root", str(shapes_root), "--tta", "--tta-scales", "1", "1.25", "--show-dir",
        "shown", "--cfg-options", *SETTINGS,
    )  # fmt: skip
    for kind in ("bbox", "segm", "keypoints"):
        assert f"coco/{kind}_mAP:" in output
    assert len(list(tmp_path.glob("*/shown/*.png"))) == 4


def test_mixed_precision_and_scaled_rate(repo: Path, shapes_root: Path, tmp_path: Path):
    options = ["train_cfg.max_epochs=1", "train_dataloader.batch_size=4"]
    output = train(
        repo, shapes_root, tmp_path, "--amp", "--auto-scale-lr", "--cfg-options",
        *SETTINGS, *options, formatted=True,
    )  # fmt: skip
    wrapper = "AmpOptimWrapper" if torch.cuda.is_available() else "mmdet.BFloat16OptimWrapper"
    assert f"type='{wrapper}'" in output
    assert "Scaling the original LR by 0.5" in output  # 4 images instead of 8
    losses = [float(value) for value in re.findall(r"\bloss: (\d+\.\d+)", output)]
    assert len(losses) == 4 and all(0 < loss < 20 for loss in losses)


def test_real_photos(repo: Path, coco_mini: Path, tmp_path: Path):
    """Two iterations on COCO photos, crowds and grayscale images included, and a checkpoint."""
    config = str(repo / "configs" / "mini" / "maskr_coco_mini.py")
    options = ["train_cfg.max_iters=2", "default_hooks.logger.interval=1", *SETTINGS[:6]]
    output = call(
        repo, "train.py", config, "--work-dir", str(tmp_path), "--data-root", str(coco_mini),
        "--cfg-options", *options, "train_cfg.val_interval=5",
    )  # fmt: skip
    losses = [float(value) for value in re.findall(r"\bloss: (\d+\.\d+)", output)]
    assert len(losses) == 2 and all(1 < loss < 20 for loss in losses)  # ln 81 for the classes alone
    assert (tmp_path / "iter_2.pth").is_file()
