"""A page about a training that goes on: early, with each validation, and when it has ended."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_maskr.engine import PreviewHook
from mmdet_maskr.errors import UserError


def train(repo: Path, root: Path, work_dir: Path, hook: dict | None) -> dict[str, torch.Tensor]:
    """Two epochs of two iterations with a validation; returns the weights."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].update(num_workers=0, persistent_workers=False)
        cfg[f"{split}_dataloader"].dataset.data_root = str(root)
    cfg.train_dataloader.dataset.indices = 8
    cfg.train_dataloader.batch_size = 4
    for split in ("val", "test"):
        cfg[f"{split}_evaluator"].ann_file = str(root / "annotations" / "instances_val.json")
    cfg.train_cfg.update(max_epochs=2, val_interval=2)
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    cfg.merge_from_dict({"work_dir": str(work_dir), "default_hooks.logger.interval": 1})
    cfg.custom_hooks = [h for h in cfg.custom_hooks if h.type != "HangGuardHook"]
    if hook is not None:
        cfg.custom_hooks.append(dict(type="PreviewHook", **hook))
    runner = Runner.from_cfg(cfg)
    runner.train()
    return {k: v.clone() for k, v in runner.model.state_dict().items()}


def test_a_page_from_the_first_iterations_on(
    repo: Path, shapes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Written after the first iteration, at the validation, at the end; it changes no weight."""
    from mmdet_maskr.report import preview

    pages: list[str] = []
    write = preview.write_whole

    def keep(path: Path, content: str, durable: bool) -> None:
        pages.append(content)
        write(path, content, durable)

    monkeypatch.setattr(preview, "write_whole", keep)
    hook = dict(first=1, images=2, seconds=1000, score_thr=0.0)
    with_page = train(repo, shapes_root, tmp_path / "a", hook)
    assert len(pages) == 3
    first, validated, ended = pages
    for page in (first, validated):
        assert '<meta http-equiv="refresh"' in page
    assert '<meta http-equiv="refresh"' not in ended and "<h1>Trained:" in ended
    assert first.count("as the training sees it") >= 4 and 'id="live"' not in first
    shown = re.findall(r'alt="(\d+\.png): ground truth and prediction"', validated)
    assert shown == ["000001.png", "000004.png"], "the first and the last of four"
    assert (
        "Training loss" in validated
        and "mask AP" in validated
        and "Training: maskr_shapes<" in validated
    )
    assert (tmp_path / "a" / "preview.html").read_text(encoding="utf-8") == ended
    without = train(repo, shapes_root, tmp_path / "b", None)
    assert all(torch.equal(value, without[name]) for name, value in with_page.items())


def test_a_page_that_cannot_be_written(
    repo: Path, shapes_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """It says so once, and the training ends as it would have."""
    (tmp_path / "a" / "preview.html").mkdir(parents=True)
    train(repo, shapes_root, tmp_path / "a", dict(first=1, images=0, seconds=0))
    logs = "".join(path.read_text() for path in (tmp_path / "a").glob("*/*.log"))
    assert logs.count("preview.html: the page is left out") == 1
    assert "Epoch(train) [2]" in logs or list((tmp_path / "a").glob("epoch_2.pth"))


def test_misuse():
    for options in (dict(images=-1), dict(first=0), dict(score_thr=2), dict(file="a/b.html")):
        with pytest.raises(UserError, match="PreviewHook"):
            PreviewHook(**options)
