"""Types of configs as texts, classes and paths: what they stand for is what counts."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import PackDetInputs, Resize
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.optim import SGD
from toy_training import toy_runner

from mmdet_maskr.config_types import class_of, is_a, name_of
from mmdet_maskr.deploy.export.metadata import resize_of
from mmdet_maskr.engine.config_checks import check_config
from mmdet_maskr.engine.loops import ExactEpochTrainLoop
from mmdet_maskr.engine.tta import augmented_pipeline
from mmdet_maskr.errors import UserError


class OwnPacking(PackDetInputs):
    pass


class OwnResize(Resize):
    pass


class OwnLoop(EpochBasedTrainLoop):
    """Counts its epochs."""

    epochs = 0

    def run_epoch(self) -> None:
        super().run_epoch()
        type(self).epochs += 1


def test_names():
    spellings = (
        "PackDetInputs", "mmdet.PackDetInputs", "mmdet.datasets.transforms.PackDetInputs",
        PackDetInputs,
    )  # fmt: skip
    for spelling in spellings:
        assert class_of(spelling, TRANSFORMS) is PackDetInputs
        assert is_a(spelling, PackDetInputs, TRANSFORMS)
        assert name_of(spelling, TRANSFORMS) == "PackDetInputs"
    assert is_a(OwnPacking, PackDetInputs, TRANSFORMS)
    assert name_of(OwnPacking, TRANSFORMS) == f"{__name__}.OwnPacking"
    for missing in ("NotThere", "not.there", "mmdet.NotThere", None):
        assert not is_a(missing, PackDetInputs, TRANSFORMS)


@pytest.mark.parametrize("packing", ["mmdet.PackDetInputs", PackDetInputs, OwnPacking])
def test_pipelines_of_classes(packing: object):
    """For test-time augmentation and export."""
    steps = [
        dict(type=LoadImageFromFile),
        dict(type=Resize, scale=(99, 66), keep_ratio=True),
        dict(type=packing),
    ]
    augmented = augmented_pipeline(copy.deepcopy(steps), [1.0, 2.0])
    sizes = augmented[1]["transforms"][0]
    assert [step["scale"] for step in sizes] == [(99, 66), (198, 132)]
    if packing is OwnPacking:
        with pytest.raises(UserError, match="OwnPacking"):
            resize_of(steps)
    else:
        assert resize_of(steps)["scale"] == [99, 66]
    with pytest.raises(UserError, match="OwnResize"):
        resize_of([dict(type=OwnResize, scale=(99, 66)), *steps[2:]])
    with pytest.raises(UserError, match="LoadImageFromFile"):
        augmented_pipeline(steps[:2], [1.0])


@pytest.mark.parametrize(
    "loop",
    [
        dict(type=EpochBasedTrainLoop), dict(type="mmengine.EpochBasedTrainLoop"),
        dict(type="EpochBasedTrainLoop"), dict(by_epoch=True), dict(type=ExactEpochTrainLoop),
        dict(type=OwnLoop),
    ],
    ids=["class", "scope", "name", "by_epoch", "ours", "subclass"],
)  # fmt: skip
def test_loops_resume_within_an_epoch(tmp_path: Path, loop: dict):
    """Whatever class of epoch-based loops it is, and however it is written."""
    every = dict(by_epoch=False, interval=6)
    cfg = dict(loop, max_epochs=2)
    OwnLoop.epochs = 0
    toy_runner(tmp_path / "a", train_cfg=cfg, checkpoint=every).train()
    runner = toy_runner(tmp_path / "b", tmp_path / "a" / "iter_6.pth", train_cfg=cfg)
    runner.train()
    assert (runner.epoch, runner.iter) == (2, 8)
    if loop.get("type") is OwnLoop:
        assert isinstance(runner.train_loop, OwnLoop) and type(runner.train_loop).epochs > 0
    built = runner.build_train_loop(
        EpochBasedTrainLoop(runner, runner.train_dataloader, max_epochs=1)
    )
    assert type(built) is ExactEpochTrainLoop


def test_iteration_based_loops_by_class(tmp_path: Path):
    class Own(IterBasedTrainLoop):
        pass

    every = dict(by_epoch=False, interval=3)
    for kind in (IterBasedTrainLoop, "mmengine.IterBasedTrainLoop", Own):
        cfg = dict(type=kind, max_iters=5)
        toy_runner(tmp_path / "a", train_cfg=cfg, checkpoint=every).train()
        runner = toy_runner(tmp_path / "b", tmp_path / "a" / "iter_3.pth", train_cfg=cfg)
        runner.train()
        assert runner.iter == 5


def test_checks_know_classes(repo: Path):
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.optim_wrapper.optimizer.type = SGD
    check_config(cfg, "a.py", "train")
    cfg.model.backbone.init_cfg = dict(type=PretrainedInit, checkpoint="nowhere.pth")
    with pytest.raises(UserError, match=r"backbone\.init_cfg\.checkpoint='nowhere\.pth'"):
        check_config(cfg, "a.py", "train")
