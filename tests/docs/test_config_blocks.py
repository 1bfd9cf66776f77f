"""Each config in README and docs parses, and its model can be built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdet_maskr.catalogue.complexity import build_bare

REPO = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASE = "_base_ = 'configs/maskr_r50_fpn_1x.py'\n"  # of blocks that only show some lines
STARTS = ("_base_ = ", "model = ", "load_from = ", "custom_imports = ")


def blocks() -> list[tuple[str, str]]:
    found = []
    for page in [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            if block.startswith(STARTS) and "fill_head" not in block:  # test_own_head.py has that
                found.append((page.stem, block))
    return found


@pytest.mark.parametrize("block", [b for _, b in blocks()], ids=[name for name, _ in blocks()])
def test_config_can_be_built(block: str, tmp_path: Path):
    (tmp_path / "configs").symlink_to(REPO / "configs")
    (tmp_path / "out").mkdir()  # of tools/convert_weights.py
    (tmp_path / "out" / "config.py").write_text(BASE.replace("configs", "../configs"))
    file = tmp_path / "own.py"
    file.write_text(block if block.startswith("_base_") else BASE + block)
    cfg = Config.fromfile(file)
    model = build_bare(cfg.model)
    by_epoch = cfg.train_cfg.type == "EpochBasedTrainLoop"
    end = cfg.train_cfg.max_epochs if by_epoch else cfg.train_cfg.max_iters
    assert cfg.param_scheduler[-1].end == end
    assert all(milestone < end for milestone in cfg.param_scheduler[-1].get("milestones", ()))
    classes = cfg.get("metainfo", {}).get("classes")
    if classes is not None:
        assert model.roi_head.bbox_head.num_classes == len(classes)
        for split in ("train", "val", "test"):
            assert cfg[f"{split}_dataloader"].dataset.metainfo.classes == classes


def test_there_are_blocks():
    assert len(blocks()) >= 8
