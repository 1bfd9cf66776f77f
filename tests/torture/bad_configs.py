"""Small trainings whose configs or checkpoints are wrong, each with what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

ENGINE = Path(__file__).resolve().parent.parent / "engine"
# A training of two iterations and a validation, with the hooks of this package's configs
GOOD = f"""
_base_ = {str(ENGINE / "durable_config.py")!r}
custom_imports = dict(_delete_=True, imports=['mmdet_maskr'])
custom_hooks = [dict(type='DatasetFitHook'), dict(type='CheckpointFitHook'),
                dict(type='RLEMasksInEvaluationHook'), dict(type='LossGuardHook')]
default_hooks = dict(checkpoint=dict(save_best=None))
train_cfg = dict(max_epochs=1, val_interval=1)
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False)
"""


class BadConfig(NamedTuple):
    """``lines`` come after the good config (or alone, with ``bare``); ``says`` is a pattern."""

    name: str
    lines: str
    says: str
    tool: str = "train.py"
    args: Sequence[str] = ()
    bare: bool = False
    prepare: Callable[[Path, Path], None] | None = None  # of the work dir and the dataset


def _saved(change: Callable[[dict], object] | bytes) -> Callable[[Path, Path], None]:
    """Writes start.pth: a file of these bytes, or a checkpoint changed so."""

    def prepare(work_dir: Path, data: Path) -> None:
        path = work_dir / "start.pth"
        if isinstance(change, bytes):
            path.write_bytes(change)
            return
        content: dict = dict(state_dict={"backbone.conv1.weight": torch.zeros(8, 3, 7, 7)}, meta={})
        change(content)
        torch.save(content, path)

    return prepare


def _saved_model(value: float) -> Callable[[Path, Path], None]:
    """Writes start.pth: all weights of the good config's model, each of this value."""

    def prepare(work_dir: Path, data: Path) -> None:
        good = Config.fromfile(ENGINE / "durable_config.py", import_custom_modules=False)
        model = MODELS.build(good.model)
        state = {name: torch.full_like(v, value) for name, v in model.state_dict().items()
                 if v.is_floating_point()}  # fmt: skip
        torch.save(dict(state_dict=state, meta={}), work_dir / "start.pth")

    return prepare


def _ground_truth(text: str) -> Callable[[Path, Path], None]:
    """Makes another annotation file of the training images."""

    def prepare(work_dir: Path, data: Path) -> None:
        (data / "annotations" / "instances_train.json").write_text(text)

    return prepare


FROM = "load_from = '{work_dir}/start.pth'"
PIPELINE = """
train_pipeline = [
    dict(type='LoadImageFromFile'),
    {load}
    dict(type='PackKeypointInputs')]
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False,
                        dataset=dict(pipeline=train_pipeline))
"""

FILES = [
    BadConfig("syntax error", "model = dict(", r"c\.py.*(never closed|EOF)"),
    BadConfig("indentation", "  model = dict()", r"c\.py.*indent"),
    BadConfig("name that is not defined", "model = dict(depth=depth)",
              r"c\.py.*'depth' is not defined"),
    BadConfig("error while it runs", "model = [1][2]", r"c\.py.*IndexError"),
    BadConfig("list", "[1, 2]", r"c\.json.*no dictionary|c\.json.*list", bare=True),
    BadConfig("nothing", "", r"c\.py has no model", bare=True),
    BadConfig("base missing", "_base_ = 'none.py'", r"c\.py.*none\.py", bare=True),
    BadConfig("base twice", "_base_ = ['{repo}/configs/_base_/schedules/schedule_1x.py', "
              "'{repo}/configs/_base_/schedules/schedule_2x.py']", r"c\.py.*[Dd]uplicate",
              bare=True),
    BadConfig("import missing", "custom_imports = dict(imports=['no_such_module'])",
              r"c\.py.*no_such_module"),
    BadConfig("binary", "\x00\x01", r"c\.py"),
    BadConfig("model is a list", "model = [1]\n", r"model"),
    BadConfig("option that nothing takes", "",
              r"model\.neck \(type='FPN'\) has no option 'nums_out' \(did you mean 'num_outs'",
              args=("--cfg-options", "model.neck.nums_out=1")),
    BadConfig("option through a number", "", r"--cfg-options",
              args=("--cfg-options", "train_cfg.max_epochs.x=1")),
]  # fmt: skip

PARTS = [
    BadConfig("RoI head misspelt", "model = dict(roi_head=dict(type='ParalelRoIHead'))",
              r"'?ParalelRoIHead.*did you mean '?ParallelRoIHead"),
    BadConfig("backbone unknown", "model = dict(backbone=dict(type='ResNot'))",
              r"'?ResNot.*did you mean"),
    BadConfig("normalization unknown", "model = dict(neck=dict(norm_cfg=dict(type='BNN')))",
              r"BNN"),
    BadConfig("type missing", "model = dict(neck=dict(_delete_=True, in_channels=[8]))", r"type"),
    BadConfig("type is a number", "model = dict(neck=dict(type=3))", r"type"),
    BadConfig("type is a function", "", r"subprocess\.call",
              args=("--cfg-options", "model.type=subprocess.call", "model.args=['touch','x']")),
    BadConfig("kind of NMS is code", "", r"abort",
              args=("--cfg-options", "model.test_cfg.rcnn.nms.type=__import__('os').abort()",
                    "model.train_cfg.rpn_proposal.nms.type=__import__('os').abort()")),
    BadConfig("key unknown", "model = dict(roi_head=dict(mask_head=dict(num_clases=3)))",
              r"num_clases.*did you mean 'num_classes'"),
    BadConfig("key of the backbone unknown", "model = dict(backbone=dict(dept=18))",
              r"dept.*did you mean 'depth'"),
    BadConfig("key missing", "model = dict(neck=dict(_delete_=True, type='FPN', num_outs=4))",
              r"FPN.*in_channels"),
    BadConfig("depth unknown", "model = dict(backbone=dict(depth=19))", r"19"),
    BadConfig("dataset unknown", "train_dataloader = dict(dataset=dict(type='ShapeDataset'))",
              r"'?ShapeDataset.*did you mean 'ShapesDataset"),
    BadConfig("transform unknown", PIPELINE.format(load="dict(type='LoadAnotations'),"),
              r"LoadAnotations.*did you mean 'LoadAnnotations"),
    BadConfig("transform's key unknown",
              PIPELINE.format(load="dict(type='LoadKeypointAnnotations', with_maks=True),"),
              r"with_maks.*did you mean 'with_mask'"),
    BadConfig("sampler unknown", "train_dataloader = dict(sampler=dict(type='RandomSampler_'))",
              r"RandomSampler_"),
    BadConfig("evaluator unknown", "val_evaluator = dict(type='CocoInstanceMetrik')",
              r"CocoInstanceMetrik.*did you mean 'CocoInstanceMetric'"),
    BadConfig("metric unknown", "val_evaluator = dict(metric=['bbox', 'segmm'])", r"segmm"),
    BadConfig("hook unknown", "custom_hooks = [dict(type='LossGard')]",
              r"LossGard.*did you mean 'LossGuardHook"),
    BadConfig("optimizer unknown", "optim_wrapper = dict(optimizer=dict(type='AdamWW'))",
              r"AdamWW.*did you mean 'AdamW"),
    BadConfig("optimizer's key unknown", "optim_wrapper = dict(optimizer=dict(momentumm=0.9))",
              r"momentumm"),
    BadConfig("scheduler unknown", "param_scheduler = [dict(type='MultiStep')]",
              r"MultiStep.*did you mean 'MultiStepLR"),
    BadConfig("scheduler's value wrong",
              "param_scheduler = [dict(type='LinearLR', start_factor=3, begin=0, end=5)]",
              r"param_scheduler\[0\] \(type='LinearLR'\).*between 0 and 1"),
    BadConfig("loop unknown", "train_cfg = dict(type='EpochTrainLoop')", r"EpochTrainLoop"),
    BadConfig("runner unknown", "runner_type = 'Runer'", r"Runer"),
    BadConfig("loss unknown",
              "model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(type='CELoss'))))",
              r"roi_head\.bbox_head\.loss_cls.*CELoss"),
    BadConfig("visualizer unknown", "visualizer = dict(type='Visualiser')", r"Visualiser"),
]  # fmt: skip

VALUES = [
    BadConfig("rate 0", "optim_wrapper = dict(optimizer=dict(lr=0))", r"optimizer\.lr=0"),
    BadConfig("rate negative", "optim_wrapper = dict(optimizer=dict(lr=-0.1))", r"lr=-0\.1"),
    BadConfig("rate is a text", "optim_wrapper = dict(optimizer=dict(lr='1e-2'))", r"lr='1e-2'"),
    BadConfig("rate is NaN", "optim_wrapper = dict(optimizer=dict(lr=float('nan')))", r"lr=nan"),
    BadConfig("batch of 0", "train_dataloader = dict(batch_size=0)",
              r"train_dataloader\.batch_size=0"),
    BadConfig("batch of a half", "train_dataloader = dict(batch_size=0.5)", r"batch_size=0\.5"),
    BadConfig("workers negative", "train_dataloader = dict(batch_size=8, num_workers=-1)",
              r"num_workers=-1"),
    BadConfig("workers persist without any",
              "train_dataloader = dict(num_workers=0, persistent_workers=True)",
              r"persistent_workers"),
    BadConfig("epochs 0", "train_cfg = dict(max_epochs=0)", r"max_epochs=0"),
    BadConfig("validation every 0 epochs", "train_cfg = dict(max_epochs=1, val_interval=0)",
              r"val_interval=0"),
    BadConfig("optimizer missing", "optim_wrapper = None", r"optim_wrapper"),
    BadConfig("evaluator missing", "val_evaluator = None", r"val_evaluator"),
    BadConfig("model missing", "model = None", r"model"),
    BadConfig("no training data", "train_dataloader = None", r"train_dataloader"),
    BadConfig("batches larger than the dataset", "train_dataloader = dict(batch_size=64)",
              r"16 images.*batch_size=64 .*drop_last"),
]  # fmt: skip

DATA = [
    BadConfig("data root missing", "", r"no annotation file .*nowhere",
              args=("--data-root", "nowhere")),
    BadConfig("annotation file missing", "train_dataloader = dict(dataset=dict(ann_file='x.json'))",
              r"no annotation file .*x\.json"),
    BadConfig("image folder missing",
              "train_dataloader = dict(dataset=dict(data_prefix=dict(img='x/')))",
              r"no image folder .*x"),
    BadConfig("evaluator's file missing", "val_evaluator = dict(ann_file='x.json')", r"x\.json"),
    BadConfig("classes are a text", "train_dataloader = dict(dataset=dict(metainfo=dict("
              "classes='disc')))", r"bare string 'disc'"),
    BadConfig("class unknown", "train_dataloader = dict(dataset=dict(metainfo=dict("
              "classes=('disk', 'figure'))))", r"'disk' \(did you mean 'disc'"),
    BadConfig("number of classes", "model = dict(roi_head=dict(bbox_head=dict(num_classes=5)))",
              r"has 6 classes, but model\.roi_head\.bbox_head\.num_classes=5"),
    BadConfig("number of keypoints",
              "model = dict(roi_head=dict(keypoint_head=dict(num_keypoints=17)))",
              r"9 keypoints, but model\.roi_head\.keypoint_head\.num_keypoints=17"),
    BadConfig("keypoint head without keypoints in the data",
              "train_dataloader = dict(dataset=dict(type='CocoInstanceDataset', metainfo=dict("
              "classes=('disc', 'box', 'triangle', 'ring', 'bar', 'figure'))))",
              r"keypoint_head, but the dataset .* has no keypoints"),
    BadConfig("every image left out",
              "train_dataloader = dict(dataset=dict(filter_cfg=dict(min_size=1000)))",
              r"filter_cfg leaves none of the 16 images of .*instances_train"),
    BadConfig("filter unknown",
              "train_dataloader = dict(dataset=dict(filter_cfg=dict(minsize=3)))", r"minsize"),
    BadConfig("masks not loaded",
              PIPELINE.format(load="dict(type='LoadKeypointAnnotations', with_bbox=True),"),
              r"with_mask=True"),
    BadConfig("nothing loaded", PIPELINE.format(load=""),
              r"trains on bboxes and masks and keypoints"),
    BadConfig("keypoints left behind", PIPELINE.format(
        load="dict(type='LoadKeypointAnnotations', with_bbox=True, with_mask=True), "
        "dict(type='RandomFlip', prob=1.0),"), r"keypoints, but RandomFlip does not move"),
    BadConfig("images not loaded", PIPELINE.format(load="").replace(
        "dict(type='LoadImageFromFile'),", ""), r"returns \['data_samples'\], not inputs"),
    BadConfig("not packed", "train_dataloader = dict(batch_size=8, num_workers=0, dataset=dict("
              "pipeline=[dict(type='LoadImageFromFile')]))",
              r"does the pipeline end with PackDetInputs"),
    BadConfig("annotations cut off", "", r"instances_train\.json, line .* not JSON",
              prepare=_ground_truth('{"images": [')),
    BadConfig("annotations of another kind", "", r"instances_train\.json holds a list",
              prepare=_ground_truth("[]")),
    BadConfig("annotations without images", "", r"instances_train\.json",
              prepare=_ground_truth('{"images": [], "annotations": [], "categories": []}')),
]  # fmt: skip

CHECKPOINTS = [
    BadConfig("checkpoint missing", "load_from = '{work_dir}/none.pth'", r"none\.pth"),
    BadConfig("checkpoint is a text", FROM, r"start\.pth cannot be read", prepare=_saved(b"x")),
    BadConfig("checkpoint is empty", FROM, r"start\.pth cannot be read", prepare=_saved(b"")),
    BadConfig("checkpoint is a folder", "load_from = '{work_dir}'", r"cannot be read|is a folder"),
    BadConfig("checkpoint of another backbone", FROM, r"another backbone",
              prepare=_saved(lambda content: None)),
    BadConfig("checkpoint of another size", FROM, r"does not fit",
              prepare=_saved(lambda c: c.update(
                  state_dict={"backbone.conv1.weight": torch.zeros(9, 3, 7, 7)}))),
    BadConfig("checkpoint without weights", FROM, r"without weights but \['epoch'\]",
              prepare=_saved(lambda c: (c.clear(), c.update(epoch=3)))),
    BadConfig("checkpoint is a tensor", FROM, r"is a Tensor without weights",
              prepare=lambda w, d: torch.save(torch.zeros(3), w / "start.pth")),
    BadConfig("a weight is a text", FROM, r"a str in place of the weight backbone\.conv1\.weight",
              prepare=_saved(lambda c: c["state_dict"].update(
                  {"backbone.bn1.bias": torch.zeros(8), "backbone.conv1.weight": "x"}))),
    BadConfig("weights are NaN", FROM, r"loss.*(NaN|nan)", prepare=_saved_model(torch.nan)),
    BadConfig("resumed from weights alone", "", r"start\.pth.*load_from",
              args=("--resume", "{work_dir}/start.pth"), prepare=_saved_model(0.0)),
    BadConfig("resumed from nowhere", "", r"none\.pth", args=("--resume", "{work_dir}/none.pth")),
    BadConfig("tested without a checkpoint", "", r"no checkpoint .*none\.pth", tool="test.py",
              args=("{work_dir}/none.pth",)),
    BadConfig("tested with another backbone", "", r"another backbone|does not fit", tool="test.py",
              args=("{work_dir}/start.pth",), prepare=_saved(lambda content: None)),
    BadConfig("pretrained backbone missing", "",
              r"model\.neck\.init_cfg\.checkpoint='no\.pth'.*not there",
              args=("--cfg-options", "model.neck.init_cfg.checkpoint=no.pth",
                    "model.neck.init_cfg.type=Pretrained")),
]  # fmt: skip

CONFIGS = [*FILES, *PARTS, *VALUES, *DATA, *CHECKPOINTS]
