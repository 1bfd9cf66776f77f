"""Every config builds; the models are what their names say."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config

ROOT = Path(__file__).resolve().parent.parent / "configs"
CONFIGS = sorted(p.relative_to(ROOT) for p in ROOT.rglob("*.py") if "_base_" not in p.parts)


def load(name: Path | str) -> Config:
    cfg = Config.fromfile(ROOT / name)
    cfg.model.backbone.init_cfg = None  # weights are not there to be downloaded
    return cfg


@pytest.mark.parametrize("name", CONFIGS, ids=str)
def test_builds(name: Path):
    cfg = load(name)
    assert cfg.custom_imports.imports == ["mmdet_maskr"]
    model = MODELS.build(cfg.model)
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes
    for split in ("train", "val", "test"):
        assert cfg[f"{split}_dataloader"].dataset.type in ("CocoInstanceDataset", "ShapesDataset")


def test_r50_fpn_1x():
    """44.4 M parameters; 16 images a batch, lr 0.02, 12 epochs with drops after 8 and 11."""
    cfg = load("maskr_r50_fpn_1x.py")
    parameters = sum(p.numel() for p in MODELS.build(cfg.model).parameters())
    assert round(parameters / 1e6, 1) == 44.4
    assert cfg.optim_wrapper.optimizer.lr == 0.02
    assert cfg.auto_scale_lr.base_batch_size == 16 == 8 * cfg.train_dataloader.batch_size
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.param_scheduler[1].milestones == [8, 11]


def test_own_data_set_as_in_the_readme(tmp_path: Path):
    """The README's config for an own data set has its folders and classes in all three splits."""
    readme = (ROOT.parent / "README.md").read_text(encoding="utf-8")
    block = next(b for b in readme.split("```") if b.startswith("python\n_base_"))
    (tmp_path / "pets.py").write_text(
        block.removeprefix("python\n").replace("'configs/", f"'{ROOT}/"), encoding="utf-8"
    )
    cfg = Config.fromfile(tmp_path / "pets.py")
    for split, file in (("train", "train.json"), ("val", "val.json"), ("test", "val.json")):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.type == "CocoInstanceDataset"
        assert (dataset.data_root, dataset.ann_file) == ("pets/", file)
        assert dataset.data_prefix.img == "photos/"
        assert dataset.metainfo.classes == ("cat", "dog")
        if split != "train":
            evaluator = cfg[f"{split}_evaluator"]
            assert evaluator.ann_file == "pets/val.json" and "segm" in evaluator.metric
    cfg.model.backbone.init_cfg = None
    roi_head = MODELS.build(cfg.model).roi_head
    assert roi_head.bbox_head.num_classes == roi_head.mask_head.num_classes == 2
