"""Every config builds; the models are what their names say."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config

from mmdet_maskr.datasets import CocoInstanceDataset
from mmdet_maskr.datasets.keypoint_meta import check_keypoint_meta, flip_indices, keypoint_labels

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
    roi_head = model.roi_head
    metrics = {"bbox"}
    if roi_head.with_mask:
        assert roi_head.bbox_head.num_classes == roi_head.mask_head.num_classes
        metrics.add("segm")
    if roi_head.with_keypoint:
        metrics.add("keypoints")
    for split in ("train", "val", "test"):
        dataset = DATASETS.get(cfg[f"{split}_dataloader"].dataset.type)
        assert issubclass(dataset, CocoInstanceDataset)
        if split != "train":
            assert set(cfg[f"{split}_evaluator"].metric) == metrics
    if roi_head.with_keypoint:
        head, meta = roi_head.keypoint_head, dataset.METAINFO
        assert head.num_keypoints == len(meta["keypoints"])
        some = None if roi_head.bbox_head.num_classes == 1 else keypoint_labels(meta)
        assert head.keypoint_labels == some


def test_r50_fpn_1x():
    """44.4 M parameters; 16 images a batch, lr 0.02, 12 epochs with drops after 8 and 11."""
    cfg = load("maskr_r50_fpn_1x.py")
    parameters = sum(p.numel() for p in MODELS.build(cfg.model).parameters())
    assert round(parameters / 1e6, 1) == 44.4
    assert cfg.optim_wrapper.optimizer.lr == 0.02
    assert cfg.auto_scale_lr.base_batch_size == 16 == 8 * cfg.train_dataloader.batch_size
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.param_scheduler[1].milestones == [8, 11]


def config_of_the_readme(name: str, folder: Path) -> Config:
    """The README's config that has ``name/`` as data root."""
    readme = (ROOT.parent / "README.md").read_text(encoding="utf-8")
    blocks = (b for b in readme.split("```") if b.startswith("python\n_base_"))
    block = next(b for b in blocks if f"data_root='{name}/'" in b)
    file = folder / f"{name}.py"
    file.write_text(
        block.removeprefix("python\n").replace("'configs/", f"'{ROOT}/"), encoding="utf-8"
    )
    cfg = Config.fromfile(file)
    cfg.model.backbone.init_cfg = None
    return cfg


def test_own_data_set_as_in_the_readme(tmp_path: Path):
    """The README's config for an own data set has its folders and classes in all three splits."""
    cfg = config_of_the_readme("pets", tmp_path)
    for split, file in (("train", "train.json"), ("val", "val.json"), ("test", "val.json")):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.type == "CocoInstanceDataset"
        assert (dataset.data_root, dataset.ann_file) == ("pets/", file)
        assert dataset.data_prefix.img == "photos/"
        assert dataset.metainfo.classes == ("cat", "dog")
        if split != "train":
            evaluator = cfg[f"{split}_evaluator"]
            assert evaluator.ann_file == "pets/val.json" and "segm" in evaluator.metric
    roi_head = MODELS.build(cfg.model).roi_head
    assert roi_head.bbox_head.num_classes == roi_head.mask_head.num_classes == 2


def test_own_keypoints_as_in_the_readme(tmp_path: Path):
    """The README's cats have four keypoints in data set, metric and model."""
    cfg = config_of_the_readme("cats", tmp_path)
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.type == "CocoKeypointDataset"
        check_keypoint_meta(dataset.metainfo)
        assert flip_indices(dataset.metainfo) == [0, 2, 1, 3]
    assert cfg.val_evaluator.ann_file == "cats/val.json"
    assert MODELS.build(cfg.model).roi_head.keypoint_head.num_keypoints == 4
