"""The page's own head, extracted from it, trains and predicts."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate


@pytest.fixture(scope="module")
def config(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The page's config, next to the page's module."""
    page = (repo / "docs" / "own_head.md").read_text(encoding="utf-8")
    module, config = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    body = [line for line in module[module.index("@MODELS") :].splitlines() if line.strip()]
    assert len(body) <= 30
    folder = tmp_path_factory.mktemp("own_head")
    (folder / "fill_head.py").write_text(module)
    (folder / "configs").symlink_to(repo / "configs")
    (folder / "fill_config.py").write_text(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        return Config.fromfile(folder / "fill_config.py")


@pytest.fixture
def model(config: Config):
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def batch(config: Config, root: Path, split: str, count: int) -> dict:
    """Images of the shapes, as the model's preprocessor takes them."""
    options = dict(config[f"{split}_dataloader"].dataset, data_root=str(root))
    dataset = DATASETS.build(options)
    return pseudo_collate([dataset[i] for i in range(count)])


def test_loss_reaches_the_new_head(config: Config, model, shapes_root: Path):
    data = model.data_preprocessor(batch(config, shapes_root, "train", 2), training=True)
    losses = model.train()(**data, mode="loss")
    assert 0.1 < losses["loss_fill"].item() < 2  # ln 2 is what knows nothing
    losses["loss_fill"].backward()
    assert all(p.grad.abs().sum() > 0 for p in model.roi_head.fill_head.parameters())


def test_batch_without_objects(config: Config, model, shapes_root: Path):
    data = model.data_preprocessor(batch(config, shapes_root, "train", 2), training=True)
    for sample in data["data_samples"]:
        sample.gt_instances = sample.gt_instances[:0]
    loss = model.train()(**data, mode="loss")["loss_fill"]
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is not None for p in model.roi_head.fill_head.parameters())


def test_predictions_have_it(config: Config, model, shapes_root: Path):
    model.test_cfg.rcnn.score_thr = model.roi_head.test_cfg.score_thr = 0.0
    data = model.data_preprocessor(batch(config, shapes_root, "val", 1))
    with torch.no_grad():
        found = model.eval()(**data, mode="predict")[0].pred_instances
    assert len(found) > 0 and found.fill.shape == found.scores.shape
    assert ((found.fill > 0) & (found.fill < 1)).all()
    assert "masks" in found and "keypoints" in found
