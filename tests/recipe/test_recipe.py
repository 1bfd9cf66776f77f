"""The config that a folder becomes: its text, with reasons, and what it builds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from recipe_cases import CPU, facts, photos, written

from mmdet_maskr.datasets.formats.prepared import prepare
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe import data, model, notes
from mmdet_maskr.recipe.facts import Facts, facts_of
from mmdet_maskr.recipe.lines import Choice, Code, set_value, text_of
from mmdet_maskr.recipe.machine import Machine
from mmdet_maskr.recipe.plan import (
    Wishes,
    first_plan,
)
from mmdet_maskr.recipe.starting import Start, start_of


def test_text_reads_back(tmp_path: Path):
    tree = dict(
        scale=Choice((2, 1), "because"),
        model=dict(
            head=dict(classes=Choice(3, "counted")), flags=[True, None], other=dict(a=1, b="x")
        ),
        steps=[dict(type="A"), Choice(Code("dict(type='B', scale=scale)"), "long " * 40)],
    )
    set_value(tree, "model.head.classes", 4, "--cfg-options")
    set_value(tree, "model.new.deep", [1, 2], "--cfg-options")
    set_value(tree, "scale", [4, 3], "--cfg-options")  # as argparse gives scale=4,3
    set_value(tree, "steps.0", dict(type="C"), "--cfg-options")
    text = text_of(tree, "A config.")
    path = tmp_path / "config.py"
    path.write_text(text, encoding="utf-8")
    found = Config.fromfile(path)
    assert found.to_dict() == dict(
        scale=(4, 3),
        model=dict(
            head=dict(classes=4), flags=[True, None], other=dict(a=1, b="x"), new=dict(deep=[1, 2])
        ),
        steps=[dict(type="C"), dict(type="B", scale=(4, 3))],
    )
    assert max(map(len, text.splitlines())) <= 100
    assert "scale = (4, 3)  # --cfg-options" in text
    assert "    head=dict(classes=4),  # --cfg-options" in text


def test_config_of_masks(tmp_path: Path):
    root = photos(tmp_path / "photos")
    cfg = written(root, tmp_path, **{"optim_wrapper.optimizer.lr": 0.5})
    built = MODELS.build(cfg.model)
    assert built.roi_head.bbox_head.num_classes == built.roi_head.mask_head.num_classes == 2
    assert cfg.train_dataloader.dataset.type == "ClassBalancedDataset"  # 1 stone for 12 leaves
    assert cfg.train_dataloader.dataset.dataset.data_root == str(root)
    assert cfg.val_evaluator.metric == ["bbox", "segm"]
    assert cfg.default_hooks.checkpoint.save_best == "coco/segm_mAP"
    assert "EarlyStoppingHook" not in [hook["type"] for hook in cfg.custom_hooks]
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == cfg.param_scheduler[1].T_max


def test_config_of_keypoints_without_masks(tmp_path: Path):
    cfg = written(photos(tmp_path / "photos", masks=False, keypoints=True), tmp_path)
    head = MODELS.build(cfg.model).roi_head
    assert not head.with_mask
    assert head.keypoint_head.num_keypoints == 2
    assert list(cfg.model.roi_head.keypoint_head.keypoint_labels) == [0]
    types = [step["type"] for step in cfg.train_pipeline]
    assert "KeypointRandomFlip" in types
    assert cfg.val_evaluator.metric == ["bbox", "keypoints"]


def deep_photos(root: Path) -> Path:
    """Photos of 12 bits in 16, as a microscope's camera has them."""
    photos(root)
    for path in root.glob("*.png"):
        values = np.asarray(Image.open(path)).max(2).astype(np.uint16) * 16
        Image.fromarray(values).save(path)
    return root


def test_photos_of_more_than_8_bits(tmp_path: Path):
    """Their bits are kept; mean and deviation are those of the training photos."""
    root = deep_photos(tmp_path / "photos")
    cfg = written(root, tmp_path)
    found = facts_of(prepare(root))
    assert found.bands is not None and "uint16" in notes.told(prepare(root), found)
    names = [image["file_name"] for image in json.loads(
        prepare(root).files["train"].read_text())["images"]]  # fmt: skip
    pixels = np.stack([np.asarray(Image.open(root / name)) for name in names]).astype(np.float64)
    assert cfg.model.data_preprocessor.mean == pytest.approx([pixels.mean()], rel=1e-4)
    assert cfg.model.data_preprocessor.std == pytest.approx([pixels.std()], rel=1e-4)
    built = MODELS.build(cfg.model).train()
    loader = Runner.build_dataloader(
        {**cfg.train_dataloader, "num_workers": 0, "persistent_workers": False}, 0
    )
    batch = built.data_preprocessor(next(iter(loader)), training=True)
    assert batch["inputs"].shape[1] == 1
    assert 0.5 < float(batch["inputs"].std()) < 1.5
    assert sum(float(v.detach()) for v in built(**batch, mode="loss")["loss_rpn_cls"]) > 0


@pytest.mark.parametrize(
    ("bands", "kind", "photometric"), [(3, np.uint16, "rgb"), (5, np.uint8, "minisblack")]
)
def test_photos_of_several_bands(tmp_path: Path, bands: int, kind: type, photometric: str):
    """Colors of 16 bits, which Pillow reads as 8, and more bands than it knows."""
    tifffile = pytest.importorskip("tifffile")
    root = photos(tmp_path / "photos")
    content = json.loads((root / "annotations.json").read_text())
    for image in content["images"]:
        path = root / image["file_name"]
        values = np.random.default_rng(image["id"]).integers(0, 200, (64, 96, bands)).astype(kind)
        image["file_name"] = f"{path.stem}.tif"
        tifffile.imwrite(
            root / image["file_name"], values, photometric=photometric, planarconfig="contig"
        )
        path.unlink()
    (root / "annotations.json").write_text(json.dumps(content))
    cfg = written(root, tmp_path)
    assert cfg.model.backbone.in_channels == len(cfg.model.data_preprocessor.mean) == bands
    loader = Runner.build_dataloader(
        {**cfg.train_dataloader, "num_workers": 0, "persistent_workers": False}, 0
    )
    sample = next(iter(loader))["inputs"][0]
    assert sample.shape[0] == bands


def test_some_photos_of_more_than_8_bits(tmp_path: Path):
    """What they lose is said."""
    root = deep_photos(tmp_path / "photos")
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(root / "3.png")
    found = facts_of(prepare(root))
    assert (found.bands, found.deep) == (None, 11)
    assert "11 photos have more than 8 bits" in notes.told(prepare(root), found)


def test_weights_of_colors_are_not_for_other_bands():
    gpu = Machine("a GPU", 80.0, 8)
    assert start_of(gpu, None, ["uint16"])[:2] == (None, None)


def test_config_with_weights(tmp_path: Path):
    start = Start(str(tmp_path / "a.pth"), None, "COCO's", small=False)
    (tmp_path / "a.pth").touch()
    cfg = written(photos(tmp_path / "photos"), tmp_path, start)
    assert cfg.load_from == start.load_from
    assert cfg.model.backbone.depth == 50
    # COCO has neither leaves nor stones
    assert dict(type="ClassTransferHook", least_shared=0) in cfg.custom_hooks
    assert "LossGuardHook" in [hook["type"] for hook in cfg.custom_hooks]
    assert "EarlyStoppingHook" in [hook["type"] for hook in cfg.custom_hooks]


@pytest.mark.parametrize("keypoints", [False, True])
def test_copy_paste(tmp_path: Path, keypoints: bool):
    """One step of what is written, with objects of another photo in each image."""
    root = photos(tmp_path / "photos", keypoints=keypoints)
    plain = written(root, tmp_path)
    assert "InstanceCopyPaste" not in plain.pretty_text
    cfg = written(
        root,
        tmp_path,
        wishes=Wishes(copy_paste=True),
        **{"train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False},
    )
    assert cfg.train_pipeline[0] == dict(type="InstanceCopyPaste", prob=0.5, max_num=10)
    assert [*cfg.loading_pipeline, *cfg.train_pipeline[1:]] == plain.train_pipeline
    cfg.train_pipeline[0].prob = cfg.train_dataloader.dataset.pipeline[0].prob = 1.0
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    own = {len(loader.dataset.dataset[i]["gt_bboxes"]) for i in range(len(loader.dataset))}
    batch = next(iter(loader))
    many = [len(sample.gt_instances) for sample in batch["data_samples"]]
    assert max(many) > max(own)
    for sample in batch["data_samples"]:
        assert len(sample.gt_instances.masks) == len(sample.gt_instances)
        assert ("keypoints" in sample.gt_instances) == keypoints
    built = MODELS.build(cfg.model)
    losses = built(**built.data_preprocessor(batch, True), mode="loss")
    total, _ = built.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)


def test_copy_paste_without_masks(tmp_path: Path):
    root = photos(tmp_path / "photos", masks=False)
    with pytest.raises(UserError, match="--copy-paste needs objects with masks"):
        written(root, tmp_path, wishes=Wishes(copy_paste=True))


def test_flips():
    plan = first_plan(facts(), CPU, True, Wishes())

    def flip(given: Facts, kind: str) -> str:
        steps = data.train_pipelines(given, plan, Wishes(flips=kind))["train_pipeline"]
        return " ".join(
            s.value.text for s in steps if isinstance(s, Choice) and "Flip" in s.value.text
        )

    assert "prob=0.5" in flip(facts(), "auto")
    assert flip(facts(), "none") == ""
    assert "diagonal" in flip(facts(), "both")
    meta = dict(keypoints=["a", "b"], keypoint_swaps=[], keypoint_classes=["leaf"])
    assert flip(facts(keypoints=meta), "auto") == ""
    assert "KeypointRandomFlip" in flip(facts(keypoints=meta), "horizontal")
    with pytest.raises(UserError, match="--flips sideways"):
        flip(facts(), "sideways")


def test_the_model_of_other_weights(tmp_path: Path, repo: Path):
    base = repo / "configs" / "_base_" / "models" / "maskr_r50_fpn.py"
    text = model.text_of_model(str(base), facts())
    (tmp_path / "model.py").write_text(text, encoding="utf-8")
    assert Config.fromfile(tmp_path / "model.py").model == Config.fromfile(base).model
    meta = dict(keypoints=["a"], keypoint_swaps=[], keypoint_classes=["leaf"])
    with pytest.raises(UserError, match="this model has no keypoint_head"):
        model.text_of_model(str(base), facts(keypoints=meta))
    cascade = repo / "configs" / "_base_" / "models" / "cascade_maskr_r50_fpn.py"
    with pytest.raises(UserError, match="several box heads"):
        model.text_of_model(str(cascade), facts())
