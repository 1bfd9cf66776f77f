"""Pretrained models where they are used: the inferencer, configs, and the command line."""

from __future__ import annotations

from pathlib import Path

import mirror
import numpy as np
import pytest
import torch
from forked import run_tool
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_maskr.adjustments import own_calls
from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.compare import read_sources
from mmdet_maskr.engine.building import begin_from, build_runner
from mmdet_maskr.engine.load_hooks import ClassTransferHook, transferred
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe import starting
from mmdet_maskr.recipe.machine import Machine
from mmdet_maskr.zoo import home, resolve

NAME = "mask_rcnn_R_50_FPN_1x"
TV = "maskrcnn_resnet50_fpn"
OPTIONS = dict(device="cpu", show_progress=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with two thin models, and an empty home."""
    mirror.install(monkeypatch, [NAME, TV], tmp_path / "mirror")
    monkeypatch.setenv(home.HOME, str(tmp_path / "home"))
    monkeypatch.setenv(home.MIRROR, (tmp_path / "mirror").as_uri())
    return tmp_path


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


def test_all_ways_to_name_one(here: Path, image: np.ndarray):
    expected = MaskRInferencer.from_pretrained(TV, **OPTIONS)(image)["predictions"]
    folder = home.model_folder(TV)
    for model, weights in (
        (TV, None), (None, TV), (folder, None), (None, folder),
        (f"pretrained://{TV}", None), (None, f"pretrained://{TV}"),
        (None, folder / "model.safetensors"), (folder / "config.py", f"pretrained://{TV}"),
    ):  # fmt: skip
        found = MaskRInferencer(model, weights, **OPTIONS)(image)["predictions"]
        assert found == expected, (model, weights)


def test_misuse(here: Path):
    with pytest.raises(UserError, match=NAME):
        MaskRInferencer.from_pretrained("mask_rcnn_R50_FPN_1x", **OPTIONS)
    with pytest.raises(UserError, match=NAME):
        MaskRInferencer("mask_rcnn_R50_FPN_1x", **OPTIONS)
    with pytest.raises(UserError, match="leave out weights"):
        MaskRInferencer.from_pretrained(NAME, weights="a.pth")
    for nothing in ("", None, 3):
        with pytest.raises(UserError, match="is not the name"):
            MaskRInferencer.from_pretrained(nothing)
    with pytest.raises(UserError, match="no folder"):
        MaskRInferencer.from_pretrained("there/is/none")


def test_our_configs_name_those_of_others(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="from_pretrained\\('mask-rcnn_r50_fpn_1x_coco'\\)"):
        MaskRInferencer("maskr_r50_fpn_1x", **OPTIONS)


def test_load_from_of_a_config(here: Path):
    with own_calls():
        loaded = CheckpointLoader.load_checkpoint(f"pretrained://{NAME}", map_location="cpu")
    assert len(loaded["meta"]["dataset_meta"]["classes"]) == 80
    assert loaded["meta"]["published"] == {"box": 38.6, "mask": 35.2}


def test_fine_tuning_keeps_classes_of_the_same_name(here: Path, shapes_root: Path):
    """Of the model's own config, with three classes, two of which COCO has."""
    local = catalogue_config(NAME)
    cfg = Config.fromfile(local)
    classes = ("dog", "unicorn", "person")
    roi_head = cfg.model.roi_head
    for head in (roi_head.bbox_head, roi_head.mask_head):
        head.num_classes = 3
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        folder = "train" if split == "train" else "val"
        dataset.update(
            data_root=str(shapes_root), ann_file=f"annotations/instances_{folder}.json",
            data_prefix=dict(img=f"{folder}/"), metainfo=dict(classes=classes),
        )  # fmt: skip
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if "Fit" not in hook["type"]]
    cfg.work_dir = str(here / "work")
    begin_from(cfg, f"pretrained://{NAME}")
    assert cfg.custom_hooks[-1] == dict(type="mmdet.ClassTransferHook", least_shared=0)
    begin_from(cfg, f"pretrained://{NAME}")
    assert [h["type"] for h in cfg.custom_hooks].count("mmdet.ClassTransferHook") == 1
    hook = cfg.custom_hooks[-1]
    assert ClassTransferHook(**{k: v for k, v in hook.items() if k != "type"}).least_shared == 0
    loaded = CheckpointLoader.load_checkpoint(f"pretrained://{NAME}", map_location="cpu")
    source = loaded["meta"]["dataset_meta"]["classes"]
    weight = loaded["state_dict"]["roi_head.bbox_head.fc_cls.weight"]
    made = transferred(weight, torch.zeros(4, weight.shape[1]), source, classes, 1)
    assert torch.equal(made[0], weight[source.index("dog")])
    assert torch.equal(made[2], weight[source.index("person")])
    assert made[1].abs().sum() == 0 and torch.equal(made[3], weight[-1])


def test_a_folder_begins_from_coco_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a GPU; fetched and checked as all models of the catalogue are."""
    mirror.install(monkeypatch, [starting.COCO], tmp_path / "mirror")
    monkeypatch.setenv(home.HOME, str(tmp_path / "home"))
    monkeypatch.setenv(home.MIRROR, (tmp_path / "mirror").as_uri())
    machine = Machine("GPU", 80.0, 8)
    begin = starting.start_of(machine, None)
    assert begin.load_from == "pretrained://mask-rcnn_r50_fpn_1x_coco"
    assert (begin.backbone, begin.small, begin.config) == (None, False, None)
    assert (home.model_folder(starting.COCO) / "model.safetensors").is_file()
    monkeypatch.setenv(home.HOME, str(tmp_path / "other"))
    monkeypatch.setenv(home.MIRROR, (tmp_path / "nowhere").as_uri())
    monkeypatch.setattr(starting, "_load", lambda name: {})  # torchvision's
    begin = starting.start_of(machine, None)
    assert (begin.load_from, begin.backbone) == (None, starting.IMAGENET)
    assert "COCO weights cannot be loaded" in begin.reason


def catalogue_config(name: str) -> str:
    return resolve(name).config


def test_a_reference_in_a_config_brings_the_hook(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr("mmdet_maskr.engine.building.RUNNERS.build", seen.append)
    cfg = Config.fromfile("configs/mini/maskr_shapes.py")
    cfg.load_from, cfg.launcher = f"pretrained://{NAME}", "none"
    build_runner(cfg, needs="train")
    assert seen[0].custom_hooks[-1]["type"] == "mmdet.ClassTransferHook"


def test_comparisons_name_them(here: Path):
    sources = read_sources([NAME, f"other=pretrained://{NAME}"])
    assert [source.name for source in sources] == [NAME, "other"]
    assert sources[0].config == sources[1].config == catalogue_config(NAME)
    for text in ("a.py", "mask_rcnn_R50_FPN_1x"):
        with pytest.raises(UserError):
            read_sources([text])


# ----------------------------------------------------------------------------------- command line
def test_the_table(repo: Path):
    code, out = run_tool(repo / "tools" / "list_configs.py", ["--pretrained", "--backbone", "vit"])
    assert code == 0 and "mask_rcnn_vitdet_b_100ep" in out and "6 models" in out
    former = run_tool(repo / "tools" / "list_configs.py", ["--pretrained", "--body", "vit"])
    assert former == (code, out)
    code, out = run_tool(repo / "tools" / "list_configs.py", ["--backbone", "vit"])
    assert code == 2 and "--pretrained" in out
    code, out = run_tool(
        repo / "tools" / "list_configs.py", ["--pretrained", "--json", "--task", "panoptic"]
    )
    assert code == 0 and '"panoptic_fpn_R_50_1x"' in out


def test_tools_take_weights_by_name(here: Path, repo: Path):
    """Each stops after it has read model and data: there are none of COCO's here."""
    tools = repo / "tools"
    code, out = run_tool(tools / "test.py", ["--weights", NAME, "--work-dir", here / "w"], here)
    assert code == 2 and "instances_val2017.json" in out, out
    code, out = run_tool(tools / "test.py", ["--weights", "mask_rcnn_R50_FPN_1x"], here)
    assert code == 2 and f"did you mean {NAME}" in out
    code, out = run_tool(tools / "test.py", ["a.py", "b.pth", "--weights", NAME], here)
    assert code == 2 and "are both checkpoints" in out
    code, out = run_tool(tools / "train.py", ["--weights", NAME, "--work-dir", here / "w"], here)
    assert code == 2 and "instances_train2017.json" in out, out
    code, out = run_tool(tools / "train.py", [], here)
    assert code == 2 and "--weights NAME" in out
    words = ["a.py", "--work-dir", here / "w", "b.pth", "--weights", NAME]  # between options, too
    code, out = run_tool(tools / "test.py", words, here)
    assert code == 2 and "are both checkpoints" in out
    code, out = run_tool(tools / "export.py", ["a", "b", "--weights", NAME, "c"], here)
    assert code == 2 and "--weights NAME and OUT" in out


def test_publish_tool(here: Path, repo: Path):
    weights = catalogue_config(NAME).replace("config.py", "model.safetensors")
    out_dir = here / "release"
    code, out = run_tool(
        repo / "tools" / "publish.py", [weights, out_dir, "--license", "cc-by-sa-3.0"]
    )
    assert code == 0 and "no scores known" in out, out
    assert MaskRInferencer.from_pretrained(out_dir, **OPTIONS).model.roi_head.with_mask
    code, out = run_tool(
        repo / "tools" / "publish.py", [weights, out_dir, "--license", "x", "--push", "me/pets"]
    )
    assert code == 2 and "hf://org/name" in out
