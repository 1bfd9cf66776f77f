"""A dry walk over a config finds what is not registered and options that are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.models import FPN
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModule
from toy_training import toy_runner

from mmdet_maskr.engine import DurableRunner
from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.config_parts import check_parts, options
from mmdet_maskr.errors import UserError

SPLITS = ("train", "val", "test")


@pytest.fixture
def cfg(repo: Path, tmp_path: Path) -> Config:
    found = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    found.work_dir = str(tmp_path)
    return found


WRONG = [
    (dict(model=dict(type="MaskRCN")), "model", "MaskRCN"),
    (dict(model=dict(neck=dict(nums_out=1))), "model.neck", "nums_out"),
    (dict(model=dict(roi_head=dict(type="ParalelRoIHead"))), "model.roi_head", "ParalelRoIHead"),
    (
        dict(model=dict(roi_head=dict(mask_head=dict(num_clases=3)))),
        "model.roi_head.mask_head",
        "num_clases",
    ),
    (
        dict(model=dict(roi_head=dict(bbox_head=dict(loss_cls=dict(type="CELoss"))))),
        "model.roi_head.bbox_head.loss_cls",
        "CELoss",
    ),
    (
        dict(model=dict(train_cfg=dict(rpn=dict(assigner=dict(pos_iou_thrr=0.7))))),
        "model.train_cfg.rpn.assigner",
        "pos_iou_thrr",
    ),
    (dict(model=dict(neck=dict(norm_cfg=dict(type="BNN")))), "model.neck.norm_cfg", "BNN"),
    (dict(train_dataloader=dict(sampler=dict(shufle=1))), "train_dataloader.sampler", "shufle"),
    (dict(train_dataloader=dict(dataset=dict(type="X"))), "train_dataloader.dataset", "X"),
    (dict(val_evaluator=dict(type="CocoMetric", metrik="bbox")), "val_evaluator", "metrik"),
    (dict(optim_wrapper=dict(optimizer=dict(momentumm=1))), "optim_wrapper.optimizer", "momentumm"),
    (dict(optim_wrapper=dict(clip_grd=None)), "optim_wrapper", "clip_grd"),
    (dict(default_hooks=dict(logger=dict(intervall=1))), "default_hooks.logger", "intervall"),
    (dict(custom_hooks=[dict(type="LossGard")]), "custom_hooks[0]", "LossGard"),
    (dict(param_scheduler=[dict(type="MultiStep")]), "param_scheduler[0]", "MultiStep"),
    (
        dict(param_scheduler=[dict(type="MultiStepLR", milestone=[1])]),
        "param_scheduler[0]",
        "milestone",
    ),
    (dict(train_cfg=dict(type="EpochTrainLoop")), "train_cfg", "EpochTrainLoop"),
    (dict(runner_type="Runer"), "runner_type", "Runer"),
    (dict(visualizer=dict(type="Visualiser")), "visualizer", "Visualiser"),
    (
        dict(visualizer=dict(vis_backends=[dict(type="LocalBackend_")])),
        "visualizer.vis_backends[0]",
        "LocalBackend_",
    ),
]


@pytest.mark.parametrize(("change", "key", "name"), WRONG, ids=[key for _, key, _ in WRONG])
def test_the_exact_key_is_named(cfg: Config, change: dict, key: str, name: str):
    cfg.merge_from_dict(change)
    with pytest.raises(UserError) as error:
        check_parts(cfg, SPLITS)
    message = str(error.value)
    assert message.startswith((f"{key}:", f"{key} (type=")) and repr(name) in message


def pipeline(*steps: dict) -> dict:
    return dict(
        train_dataloader=dict(dataset=dict(_delete_=True, type="CocoDataset", pipeline=[*steps]))
    )


@pytest.mark.parametrize(
    ("step", "key"),
    [
        (dict(type="LoadAnotations"), "pipeline[0]"),
        (dict(type="LoadAnnotations", with_maks=True), "pipeline[0]"),  # passed on
        (dict(type="RandomApply", transforms=[dict(type="X")]), "pipeline[0].transforms[0]"),
        (
            dict(type="RandomChoice", transforms=[[dict(type="Resize", scal=(1, 1))]]),
            "pipeline[0].transforms[0][0]",
        ),
    ],
)
def test_transforms(cfg: Config, step: dict, key: str):
    cfg.merge_from_dict(pipeline(step))
    with pytest.raises(UserError) as error:
        check_parts(cfg, SPLITS)
    assert str(error.value).startswith(f"train_dataloader.dataset.{key}")
    check_parts(cfg, ("test",))  # which has no use for it


def test_data_sets_within_others(cfg: Config):
    inner = dict(type="CocoDataset", pipeline=[dict(type="PackDetInput")])
    repeated = dict(type="RepeatDataset", times=2, dataset=inner, _delete_=True)
    cfg.merge_from_dict(dict(train_dataloader=dict(dataset=repeated)))
    with pytest.raises(UserError, match=r"train_dataloader\.dataset\.dataset\.pipeline\[0\]: "):
        check_parts(cfg, SPLITS)
    joined = dict(type="ConcatDataset", datasets=[dict(type="CocoDataset"), inner], _delete_=True)
    cfg.merge_from_dict(dict(train_dataloader=dict(dataset=joined)))
    with pytest.raises(UserError, match=r"dataset\.datasets\[1\]\.pipeline\[0\]: "):
        check_parts(cfg, SPLITS)


class OwnNeck(BaseModule):
    """Of another package: it consumes what it is given as it likes."""

    def __init__(self, norm_cfg: dict, loss_cls: dict, **options: object) -> None:
        super().__init__()


class OwnFPN(FPN):
    def __init__(self, **options: object) -> None:
        options.pop("own", None)
        super().__init__(**options)


def own_neck(channels: int, **options: object) -> torch.nn.Module:
    return torch.nn.Identity()


class OwnHook(Hook):
    def __init__(self, **options: object) -> None:
        self.options = options


CONSUMED = dict(type=OwnNeck, norm_cfg=dict(type="NotThere"), loss_cls=dict(type="Nor", this=1))
GOOD: list[tuple[str, Callable[[Config], object]]] = [
    ("class", lambda c: c.model.neck.update(type=FPN)),
    ("full name", lambda c: c.model.neck.update(type="mmdet.models.necks.FPN")),
    ("scope", lambda c: c.model.neck.update(type="mmdet.FPN", _scope_="mmdet")),
    ("consumed by a class of others", lambda c: c.model.update(neck=CONSUMED)),
    ("function of others", lambda c: c.model.update(neck=dict(type=own_neck, channels=3, x=1))),
    ("any options", lambda c: c.model.neck.update(type=OwnFPN, own=3)),
    ("hook with any options", lambda c: c.custom_hooks.append(dict(type=OwnHook, x=1, priority=3))),
    ("priority", lambda c: c.custom_hooks[0].update(priority="LOW")),
    ("no hook", lambda c: c.default_hooks.update(timer=None)),
    ("built hook", lambda c: c.custom_hooks.append(OwnHook())),
    ("type in a dictionary that nobody builds", lambda c: c.update(note=dict(type="a text"))),
    ("kind of nms", lambda c: c.model.test_cfg.rcnn.nms.update(type="soft_nms", min_score=0.1)),
    (
        "initial weights with an override",
        lambda c: c.model.neck.update(
            init_cfg=dict(type="Normal", layer="Conv2d", std=0.1, override=dict(name="x", type="Y"))
        ),
    ),
    (
        "constructor of others",
        lambda c: c.update(
            optim_wrapper=dict(constructor="mmdet.LearningRateDecayOptimizerConstructor", a=1)
        ),
    ),
    (
        "schedule by iterations",
        lambda c: c.update(
            param_scheduler=dict(type="CosineAnnealingLR", T_max=2, convert_to_iter_based=True)
        ),
    ),
    ("loop by epochs", lambda c: c.update(train_cfg=dict(by_epoch=True, max_epochs=1))),
    ("no validation", lambda c: c.update(val_cfg=None, val_dataloader=None, val_evaluator=None)),
    (
        "transforms of another library",
        lambda c: c.merge_from_dict(
            pipeline(dict(type="Albu", transforms=[dict(type="ShiftScaleRotate", p=0.5)]))
        ),
    ),
    ("scope of a package that is not there", lambda c: c.update(
        model=dict(type="mmpretrain.NotHere", x=1))),
]  # fmt: skip


@pytest.mark.parametrize("change", [c for _, c in GOOD], ids=[name for name, _ in GOOD])
def test_what_works_is_not_refused(cfg: Config, change: Callable[[Config], object]):
    change(cfg)
    before = repr(cfg._cfg_dict)
    check_parts(cfg, SPLITS)
    assert repr(cfg._cfg_dict) == before


def test_stock_configs_of_mmdet():
    """A sample of them; a few of mmdet's own cannot be built, and are named."""
    folder = Path(mmdet.__file__).parent / ".mim" / "configs"
    files = [f for f in sorted(folder.rglob("*.py")) if "_base_" not in f.parts]
    chosen = files[::40]
    for name in ("detr/detr_r50_8xb2-150e_coco", "vfnet/vfnet_r50_fpn_1x_coco",
                 "albu_example/mask-rcnn_r50_fpn_albu-1x_coco",
                 "soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco",
                 "simple_copy_paste/mask-rcnn_r50_fpn_ssj-scp_32xb2-90k_coco"):  # fmt: skip
        chosen += [file for file in files if str(file).endswith(f"{name}.py")]
    count = 0
    for file in chosen:
        try:
            stock = Config.fromfile(file, import_custom_modules=False)
        except ImportError:  # of a package that is not there
            continue
        try:
            check_parts(stock, SPLITS)
        except UserError as error:
            assert "MOTChallengeMetrics" in str(error), f"{file}: {error}"
        count += 1
    assert count > 15


def test_options_that_are_passed_on():
    class Base:
        def __init__(self, a: int, b: int = 0) -> None: ...

    class Passes(Base):
        def __init__(self, c: int, **options: object) -> None:
            super().__init__(**options)

    class Takes(Base):
        def __init__(self, c: int, **options: object) -> None:
            options.setdefault("a", 1)
            super().__init__(**options)

    class Skips(Passes):
        def __init__(self, **options: object) -> None:
            super(Passes, self).__init__(**options)

    assert options(Skips)[1]
    assert options(Base) == (["a", "b"], False)
    assert options(Passes) == (["c", "a", "b"], False)
    assert options(Takes) == (["c", "a", "b"], True)
    assert options(dict)[1] and not options(torch.optim.SGD)[1]


def test_a_notebook_is_told_before_the_model_is_built(cfg: Config):
    """Without our launcher, and without building anything."""
    built = []

    class Spy(BaseModule):
        def __init__(self) -> None:
            built.append(1)
            super().__init__()

    cfg.model.backbone = dict(type=Spy)
    cfg.model.roi_head.bbox_head.num_clases = 3
    with pytest.raises(UserError, match=r"^model\.roi_head\.bbox_head \(.*'num_clases'"):
        DurableRunner.from_cfg(cfg)
    assert not built


@pytest.mark.parametrize("kind", ["DurableRunner", "Runner"])
def test_what_a_constructor_refuses_has_its_key(cfg: Config, kind: str):
    cfg.runner_type, cfg.launcher = kind, "none"
    cfg.model.backbone.depth = 19
    with pytest.raises(UserError, match=r"^model\.backbone \(type=.* cannot be built .*19"):
        build_runner(cfg)


def test_what_training_builds_has_its_key(tmp_path: Path):
    """Of a list its index, and of two of a type the one that is meant."""
    rates = [
        dict(type="LinearLR", start_factor=0.5, by_epoch=False, begin=0, end=5),
        dict(type="LinearLR", start_factor=3, by_epoch=False, begin=5, end=9),
    ]
    runner = toy_runner(tmp_path, param_scheduler=rates)
    runner.cfg = Config(dict(param_scheduler=rates))
    with pytest.raises(UserError, match=r"^param_scheduler\[1\] \(type='LinearLR'\).*0 and 1"):
        runner.train()
