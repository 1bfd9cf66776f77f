"""Wrapped datasets wherever a config's dataset is used: training, tests, pictures, exports.

Every wrapper in every use, in configs whose types are texts and in files of the newer style, whose
types are classes and whose bases are ``read_base()``, on the shapes and a small model with random
weights.
"""

from __future__ import annotations

import copy
import json
import logging
import pickle
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.config import Config, ConfigDict
from new_style import write_new_style

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.apis.class_names import checkpoint_meta
from mmdet_maskr.datasets import shapes, wrappers
from mmdet_maskr.deploy.export import evaluate, metadata
from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.engine.load_hooks import classes_of
from mmdet_maskr.engine.tta_config import enable_tta
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.browse import MODES, draw_item

OTHER_PALETTE = dict(palette=[(9, 9, 9)] * 6)
IMAGES = 4


def _parts(dataset: dict) -> list[dict]:
    """Two halves of a dataset whose palettes differ."""
    return [
        {**copy.deepcopy(dataset), "indices": list(range(0, IMAGES, 2))},
        {**copy.deepcopy(dataset), "indices": list(range(1, IMAGES, 2)), "metainfo": OTHER_PALETTE},
    ]


def _repeated(dataset: dict) -> dict:
    return dict(type="RepeatDataset", times=2, dataset=dataset)


def _joined(dataset: dict) -> dict:
    return dict(type="ConcatDataset", datasets=_parts(dataset))


def _mixed(dataset: dict) -> dict:
    return dict(type="MultiImageMixDataset", dataset=dataset, pipeline=[dataset["pipeline"].pop()])


WRAPPERS: dict[str, Callable[[dict], dict]] = {
    "ConcatDataset": _joined,
    "RepeatDataset": _repeated,
    "ClassBalancedDataset": lambda d: dict(
        type="ClassBalancedDataset", oversample_thr=0.9, dataset=d
    ),
    "MultiImageMixDataset": _mixed,
    "repeated joined ones": lambda d: _repeated(_joined(d)),
}
STYLES = ("texts", "classes")


def config(repo: Path, root: Path, wrapper: str, style: str, work_dir: Path) -> Config:
    cfg = Config.fromfile(repo / "configs/mini/maskr_shapes.py")
    replace_data_root(cfg, cfg.data_root, str(root))
    for split in ("train", "val", "test"):
        loader = cfg[f"{split}_dataloader"]
        dataset = copy.deepcopy(loader.dataset.to_dict())
        dataset["indices"] = IMAGES
        dataset = WRAPPERS[wrapper](dataset)
        loader.update(num_workers=0, persistent_workers=False, batch_size=4)
        loader.dataset = ConfigDict(dataset)
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=1, val_interval=1)
    cfg.param_scheduler = []
    cfg.custom_hooks = [dict(type="DatasetFitHook"), dict(type="RLEMasksInEvaluationHook")]
    cfg.default_hooks = dict(checkpoint=None)
    cfg.work_dir, cfg.log_level = str(work_dir), "ERROR"
    cfg.launcher = "none"
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    cfg.experiment_name = f"{wrapper}_{style}_{work_dir.name}"
    return Config.fromfile(write_new_style(cfg, work_dir / "new")) if style == "classes" else cfg


@pytest.fixture(scope="module", autouse=True)
def no_texts_of_configs():
    """Formatting a config takes longer than training here, and fails for classes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, "pretty_text", property(lambda cfg: f"# of {cfg.filename}"))
        yield


@pytest.fixture(scope="module")
def weights(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(repo / "configs/mini/maskr_shapes.py").model)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    meta = dict(dataset_meta=dict(classes=shapes.CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


@pytest.fixture
def cfg(request: pytest.FixtureRequest, repo: Path, shapes_root: Path, tmp_path: Path) -> Config:
    return config(repo, shapes_root, *request.param, tmp_path)


def matrix(*styles: str) -> Callable:
    cases = [(wrapper, style) for wrapper in WRAPPERS for style in styles or STYLES]
    return pytest.mark.parametrize("cfg", cases, indirect=True, ids="-".join)


@matrix()
def test_training_and_validation(cfg: Config):
    runner = build_runner(cfg, "train")
    runner.train()
    assert runner.iter == 1
    assert runner.train_dataloader.dataset.metainfo["classes"] == shapes.CLASSES
    assert 0 <= runner.message_hub.get_scalar("val/coco/segm_mAP").current() <= 1


def _test(cfg: Config, weights: Path) -> dict:
    cfg.load_from = str(weights)
    return build_runner(cfg, "test").test()


@pytest.fixture(scope="module")
def plain_scores(
    no_texts_of_configs: None,
    repo: Path,
    shapes_root: Path,
    weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict:
    WRAPPERS["none"] = lambda dataset: dataset
    folder = tmp_path_factory.mktemp("plain")
    cfg = config(repo, shapes_root, "none", "texts", folder)
    del WRAPPERS["none"]
    return _test(cfg, weights)


@matrix()
def test_testing(cfg: Config, weights: Path, plain_scores: dict):
    """The scores of the dataset itself; an image that comes twice is counted once."""
    assert _test(cfg, weights) == pytest.approx(plain_scores, abs=1e-9)
    assert plain_scores["coco/bbox_mAP"] >= 0


@matrix()
def test_test_time_augmentation(cfg: Config, weights: Path):
    enable_tta(cfg)
    assert _test(cfg, weights)["coco/segm_mAP"] >= 0


@matrix()
def test_export(cfg: Config):
    model = MODELS.build(cfg.model)
    described = metadata.describe(model, cfg, dict(classes=shapes.CLASSES))
    assert described["preprocessing"]["resize"]["scale_factor"] == [1.0, 1.0]


@matrix()
def test_inferencer_and_scores_of_an_export(cfg: Config, weights: Path, shapes_root: Path):
    """Pictures by path; the images of the config's test data as export compares them."""
    inferencer = MaskRInferencer(cfg, str(weights), show_progress=False)
    image = sorted((shapes_root / "val").glob("*.png"))[0]
    found = inferencer(str(image), no_save_vis=True)["predictions"][0]
    assert len(found["labels"]) == 5 and len(found["masks"]) == 5
    scores = evaluate.scores(
        lambda path: inferencer(path, no_save_vis=True)["predictions"][0],
        inferencer.cfg, inferencer.model.dataset_meta, 9,
    )  # fmt: skip
    assert scores["coco/bbox_mAP"] >= 0


@matrix()
def test_browsing(cfg: Config):
    """Pictures of the same datasets, in each mode that they have."""
    mixes = cfg.experiment_name.startswith("MultiImageMix")
    for split in ("train", "val"):
        dataset = DATASETS.build(cfg[f"{split}_dataloader"].dataset)
        wrappers.prepare(dataset)
        for mode in MODES:
            if mixes and mode != "transformed":
                with pytest.raises(UserError, match="mixes images"):
                    draw_item(dataset, 1, mode)
                continue
            path, picture = draw_item(dataset, 1, mode)
            assert Path(path).is_file() and picture.ndim == 3


def test_the_tool_browses(
    repo: Path, shapes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cfg = config(repo, shapes_root, "repeated joined ones", "texts", tmp_path)
    path, out = tmp_path / "config.json", tmp_path / "out"
    path.write_text(json.dumps(cfg.to_dict()))
    argv = ["browse_dataset.py", str(path), "--out-dir", str(out), "--number", "2"]
    monkeypatch.setattr(sys, "argv", argv)
    runpy.run_path(str(repo / "tools/browse_dataset.py"), run_name="__main__")
    assert len(list(out.glob("*.png"))) == 3


# ---------------------------------------------------------------------------------------- functions
def leaf(name: str, **options) -> dict:
    return dict(type=name, pipeline=[dict(type="A")], **options)


def test_walking_a_config():
    nested = dict(type="RepeatDataset", dataset=dict(
        type="ConcatDataset", datasets=[leaf("a"), dict(type="B", dataset=leaf("b"))]))  # fmt: skip
    assert [part["type"] for part in wrappers.leaves(nested)] == ["a", "b"]
    assert [part["type"] for part in wrappers.leaves(leaf("a"))] == ["a"]
    assert wrappers.the_pipeline(nested, "a test") == [dict(type="A")]
    nested["dataset"]["datasets"][0]["pipeline"] = [dict(type="C")]
    with pytest.raises(UserError, match="2 different pipelines"):
        wrappers.the_pipeline(nested, "a test")
    mixed = dict(type="MultiImageMixDataset", dataset=leaf("a"), pipeline=[dict(type="P")])
    assert wrappers.the_pipeline(mixed, "a test") == [dict(type="A"), dict(type="P")]
    wrappers.change_pipelines(mixed, lambda pipeline: pipeline[::-1])
    assert mixed["dataset"]["pipeline"] == [dict(type="P"), dict(type="A")]
    assert mixed["pipeline"] == []
    twice = leaf("a")
    joined = dict(type="ConcatDataset", datasets=[twice, twice])
    wrappers.change_pipelines(joined, lambda pipeline: [*pipeline, 1])
    assert twice["pipeline"] == [dict(type="A"), 1]


def test_lists_of_metainfos():
    """As mmdet's ConcatDataset has them, and stores in checkpoints."""
    metas = [dict(classes=("a", "b"), palette=[1]), dict(classes=["a", "b"], palette=[2])]
    assert wrappers.one_metainfo(metas, "x") == metas[0]
    assert wrappers.one_metainfo(metas[1], "x") is metas[1]
    assert wrappers.one_metainfo(None, "x") is None
    with pytest.raises(UserError, match="differ in metainfo"):
        wrappers.one_metainfo([*metas, dict(classes=("b", "a"))], "x")
    checkpoint = dict(meta=dict(dataset_meta=metas))
    assert classes_of(checkpoint) == ("a", "b")
    assert checkpoint_meta(checkpoint)["classes"] == ("a", "b")


def test_images_that_the_evaluator_does_not_know(
    repo: Path, shapes_root: Path, tmp_path: Path, weights: Path
):
    cfg = config(repo, shapes_root, "RepeatDataset", "texts", tmp_path)
    content = json.loads((shapes_root / "annotations/instances_val.json").read_text())
    content["images"] = content["images"][2:]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] > 2]
    (tmp_path / "half.json").write_text(json.dumps(content))
    cfg.test_evaluator.ann_file = str(tmp_path / "half.json")
    with pytest.raises(UserError, match="not in the evaluator's ann_file"):
        _test(cfg, weights)


def test_joined_data_sets_with_other_classes(repo: Path, shapes_root: Path, tmp_path: Path):
    cfg = config(repo, shapes_root, "ConcatDataset", "texts", tmp_path)
    part = cfg.train_dataloader.dataset.datasets[1]
    part.metainfo = dict(classes=shapes.CLASSES[:4])
    part.type = "CocoInstanceDataset"
    part.pipeline = [dict(type="LoadImageFromFile"), dict(type="PackDetInputs")]
    with pytest.raises(UserError, match=r"differ in metainfo\['classes'\]"):
        build_runner(cfg, "train").train()


def test_a_mosaic_that_leaves_masks_behind(repo: Path, shapes_root: Path, tmp_path: Path):
    """Loaded within the wrapper, left behind by its own pipeline."""
    cfg = config(repo, shapes_root, "MultiImageMixDataset", "texts", tmp_path)
    loading = [dict(type="LoadImageFromFile"),
               dict(type="LoadAnnotations", with_bbox=True, with_mask=True)]  # fmt: skip
    dataset = cfg.train_dataloader.dataset
    dataset.dataset.update(type="CocoInstanceDataset", pipeline=loading,
                           metainfo=dict(classes=shapes.CLASSES))  # fmt: skip
    mosaic = dict(type="Mosaic", img_scale=(96, 96))
    dataset.pipeline = [mosaic, dict(type="PackDetInputs")]
    with pytest.raises(UserError, match="Use InstanceMosaic instead"):
        build_runner(cfg, "train").train()
    dataset.pipeline[0].type = "InstanceMosaic"
    built = DATASETS.build(dataset)
    wrappers.prepare(built)
    for index in range(4):
        sample = built[index]["data_samples"].gt_instances
        assert sample.masks.masks.shape == (len(sample), 192, 192)


def test_a_transform_of_the_wrapper_that_fails(repo: Path, shapes_root: Path, tmp_path: Path):
    """Named with its number, also from a data worker; the image and its annotations are right."""

    @TRANSFORMS.register_module(name="FailsAfterMixing", force=True)
    class FailsAfterMixing:
        def __call__(self, results: dict) -> dict:
            raise IndexError("8")

    cfg = config(repo, shapes_root, "MultiImageMixDataset", "texts", tmp_path)
    cfg.train_dataloader.dataset.pipeline.insert(0, dict(type="FailsAfterMixing"))
    with pytest.raises(UserError, match=r"transform 0 \(FailsAfterMixing\).*\.png.*IndexError: 8"):
        build_runner(cfg, "train").train()
    built = DATASETS.build(cfg.val_dataloader.dataset)
    wrappers.prepare(built)
    wrappers.prepare(built)
    step = pickle.loads(pickle.dumps(built.pipeline[0]))
    assert type(step.transform).__name__ == "PackKeypointInputs" and len(built.pipeline) == 1


def test_images_that_share_an_id(repo: Path, shapes_root: Path, tmp_path: Path, weights: Path):
    """Joined files with the same ids cannot be evaluated by one annotation file."""
    cfg = config(repo, shapes_root, "ConcatDataset", "texts", tmp_path)
    other = cfg.test_dataloader.dataset.datasets[1]
    train = cfg.train_dataloader.dataset.datasets[0]
    other.update(ann_file=train.ann_file, data_prefix=train.data_prefix, indices=[0])
    with pytest.raises(UserError, match="have the same id"):
        _test(cfg, weights)


def test_losses_of_zero_are_reported(repo: Path, shapes_root: Path, tmp_path: Path):
    """A training whose boxes and masks are all ignored by a transform of the user's."""

    @TRANSFORMS.register_module(name="IgnoresAll", force=True)
    class IgnoresAll:
        def __call__(self, results: dict) -> dict:
            results["gt_ignore_flags"] = np.ones_like(results["gt_ignore_flags"])
            return results

    cfg = config(repo, shapes_root, "RepeatDataset", "texts", tmp_path)
    cfg.train_dataloader.dataset.dataset.pipeline.insert(2, dict(type="IgnoresAll"))
    cfg.custom_hooks.append(dict(type="LossGuardHook"))
    cfg.train_cfg.update(max_iters=2, val_interval=10)
    runner = build_runner(cfg, "train")
    said: list[str] = []
    runner.logger.addFilter(lambda record: said.append(record.getMessage()) or True)
    runner.logger.setLevel(logging.WARNING)
    runner.train()
    text = next(line for line in said if "exactly 0" in line)
    assert "loss_bbox" in text and "loss_mask" in text and "first 2 iterations" in text
    assert "loss_cls" not in text


def test_files_of_the_newer_style(repo: Path, shapes_root: Path, tmp_path: Path):
    """Classes of every kind, from two files."""
    cfg = config(repo, shapes_root, "RepeatDataset", "classes", tmp_path)
    assert cfg.filename == str(tmp_path / "new" / "main.py")
    parts = (cfg.model, cfg.model.roi_head.mask_head, cfg.train_dataloader.dataset,
             cfg.train_cfg, cfg.optim_wrapper.optimizer, cfg.test_evaluator,
             cfg.train_dataloader.dataset.dataset.pipeline[0])  # fmt: skip
    assert all(isinstance(part.type, type) for part in parts)
