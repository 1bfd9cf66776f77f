"""Configs with Detectron2's recipes train as its configs say, and docs name the keys that do so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmdet_maskr.catalogue import config_path
from mmdet_maskr.catalogue.published import DETECTRON2_RECIPES

NAMES = [name for name in DETECTRON2_RECIPES if "keypoint" not in name]


@pytest.fixture(scope="module")
def reference(repo: Path) -> dict:
    """Detectron2's dump of the config of its R50-FPN."""
    file = repo.parent / "shared/reference/detectron2/mask_rcnn_R_50_FPN/config.yaml"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_optimization(name: str, reference: dict):
    """Batch, rate, momentum, decay and warm-up; 3x has its own length and drops."""
    cfg, solver = Config.fromfile(config_path(name)), reference["SOLVER"]
    warmup, drops = cfg.param_scheduler
    assert (warmup.end, warmup.start_factor) == (solver["WARMUP_ITERS"], solver["WARMUP_FACTOR"])
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum) == (solver["BASE_LR"], solver["MOMENTUM"])
    assert optimizer.weight_decay == solver["WEIGHT_DECAY"]
    assert drops.gamma == solver["GAMMA"]
    assert cfg.auto_scale_lr.base_batch_size == solver["IMS_PER_BATCH"]


def test_keys_of_the_table(repo: Path):
    """Each key on the page is one of a config that counts iterations."""
    cfg = Config.fromfile(config_path("maskr_r50_fpn_90k"))
    page = (repo / "docs" / "weights.md").read_text(encoding="utf-8")
    section = page.split("## Detectron2's config keys")[1]
    cells = [line.split("|")[2] for line in section.splitlines() if line.startswith("| `")]
    keys = re.findall(r"`([a-z_]+\.[a-z_0-9.]+)`", " ".join(cells))
    assert len(keys) > 25
    for key in keys:
        value = cfg
        for part in key.split("."):
            value = value[int(part) if part.isdigit() else part]
