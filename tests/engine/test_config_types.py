"""Types of configs as texts, classes and paths: what they stand for is what counts."""

from __future__ import annotations

import copy
import inspect
import os
import re
import signal
from functools import partial
from pathlib import Path

import child_training as child
import pytest
from forked import finish, fork
from mmcv.transforms import LoadImageFromFile
from mmdet import registry
from mmdet.datasets.transforms import PackDetInputs, Resize
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import PretrainedInit
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.optim import SGD
from toy_training import toy_runner

from mmdet_maskr.config_types import class_of, is_a, name_of
from mmdet_maskr.deploy.export.metadata import resize_of
from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.config_checks import check_config
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.engine.loops import ExactEpochTrainLoop
from mmdet_maskr.engine.tta_config import augmented_pipeline, enable_tta
from mmdet_maskr.errors import UserError

REGISTRIES = [value for value in vars(registry).values() if isinstance(value, Registry)]


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
    """Any class of epoch-based loops, written in any way."""
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


def written_with_classes(cfg: Config, path: Path) -> None:
    """Write a config as those with ``read_base()`` are: types are imported classes."""
    imports = {}

    def classed(match: re.Match) -> str:
        for one in REGISTRIES:
            found = one.get(match[1])
            if found is not None:
                imports[found.__name__] = found.__module__
                return f"type={found.__name__}"
        return match[0]

    text = re.sub(r"type='(\w+)'", classed, cfg.pretty_text)
    lines = [f"from {module} import {name}" for name, module in sorted(imports.items())]
    path.write_text("\n".join([*lines, text]))


def test_a_config_of_classes(tmp_path: Path, shapes_root: Path):
    """Trained, interrupted within an epoch, resumed, and tested with augmentation."""
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    loop = dict(type="EpochBasedTrainLoop", max_epochs=1, val_interval=2)
    cfg = child.config(shapes_root, work_dir, default_scope=None, train_cfg=dict(loop, _delete_=1),
                       train_dataloader__num_workers=0)  # fmt: skip
    written_with_classes(cfg, tmp_path / "classes.py")

    def configured(resume: bool) -> Config:
        cfg = Config.fromfile(tmp_path / "classes.py")
        assert inspect.isclass(cfg.model.type) and inspect.isclass(cfg.train_cfg.type)
        cfg.work_dir, cfg.resume, cfg.launcher = str(work_dir), resume, "none"
        return cfg

    class Stop(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    def train(resume: bool) -> None:
        runner = build_runner(configured(resume), needs="train")
        if not resume:
            runner.register_hook(Stop())
        runner.train()

    def test() -> None:
        cfg = configured(False)
        cfg.load_from = str(work_dir / "epoch_1.pth")
        enable_tta(cfg)
        runner = build_runner(cfg, needs="test")
        assert runner.test()["coco/segm_mAP"] >= 0

    log = tmp_path / "log"
    ends = [finish(fork(partial(run_tool, partial(train, again)), log)) for again in (False, True)]
    assert ends == [143, 0], log.read_text()[-2000:]
    assert sorted(child.losses(work_dir)) == list(range(8))
    assert finish(fork(lambda: run_tool(test), log)) == 0, log.read_text()[-2000:]


def test_checks_know_classes(repo: Path):
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.optim_wrapper.optimizer.type = SGD
    check_config(cfg, "a.py", "train")
    cfg.model.backbone.init_cfg = dict(type=PretrainedInit, checkpoint="nowhere.pth")
    with pytest.raises(UserError, match=r"backbone\.init_cfg\.checkpoint='nowhere\.pth'"):
        check_config(cfg, "a.py", "train")
