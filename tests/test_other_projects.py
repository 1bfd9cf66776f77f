"""The plugin in another project: its config, mmdet's own tools, mmdet's DetInferencer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS

from mmdet_maskr.catalogue import config_path
from mmdet_maskr.engine import DurableRunner

CONFIG = """
_base_ = [{mmdet_model!r}]
custom_imports = dict(imports=['mmdet_maskr'])
default_scope = 'mmdet'

model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        type='ParallelRoIHead',
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=64, num_classes=6),
        mask_roi_extractor=dict(out_channels=32),
        mask_head=dict(num_convs=1, in_channels=32, conv_out_channels=32, num_classes=6)),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=5)))

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackDetInputs')
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoInstanceDataset',
        data_root={data_root!r},
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=('disc', 'box', 'triangle', 'ring', 'bar', 'figure')),
        pipeline=pipeline))
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoInstanceDataset',
        data_root={data_root!r},
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=('disc', 'box', 'triangle', 'ring', 'bar', 'figure')),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64), keep_ratio=True),
            dict(type='PackDetInputs',
                 meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_evaluator = dict(
    type='CocoMetric', ann_file={data_root!r} + '/annotations/instances_val.json', metric='segm')
test_cfg = dict(type='TestLoop')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
visualizer = dict(type='DetLocalVisualizer', name='visualizer')
"""

INFER = """
import json, sys
from mmdet.apis import DetInferencer
inferencer = DetInferencer(model=sys.argv[1], weights=sys.argv[2], device='cpu')
result = inferencer(sys.argv[3], out_dir=sys.argv[4], no_save_pred=False)
print('RESULT', json.dumps({key: len(value) for key, value in result['predictions'][0].items()}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> Path:
    folder = tmp_path_factory.mktemp("project")
    model = Path(mmdet.__file__).parent / ".mim/configs/_base_/models/mask-rcnn_r50_fpn.py"
    content = CONFIG.format(mmdet_model=str(model), data_root=str(shapes_root))
    (folder / "own_config.py").write_text(content)
    return folder


def start(command: list[str], cwd: Path) -> subprocess.CompletedProcess:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True
    )


def run(command: list[str], cwd: Path) -> str:
    result = start(command, cwd)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    return result.stdout


def test_mmdet_trains_and_infers(project: Path, shapes_root: Path):
    train = Path(mmdet.__file__).parent / ".mim" / "tools" / "train.py"
    run([str(train), "own_config.py", "--work-dir", "out"], project)
    checkpoint = project / "out" / "epoch_1.pth"
    assert checkpoint.is_file()
    image = str(shapes_root / "val" / "000001.png")
    output = run(["-c", INFER, "own_config.py", str(checkpoint), image, "pictures"], project)
    lengths = json.loads(output.split("RESULT", 1)[1])
    assert lengths == dict(labels=5, scores=5, bboxes=5, masks=5)
    assert (project / "pictures" / "vis" / "000001.png").is_file()
    prediction = json.loads((project / "pictures" / "preds" / "000001.json").read_text())
    assert prediction["masks"][0]["size"] == [96, 96]


@pytest.mark.slow
def test_guards_as_on_the_page(repo: Path, project: Path):
    """The lines of long_runs.md over mmdet's base, by its tool: durable, resumed, guarded."""
    page = (repo / "docs" / "long_runs.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (project / "guarded.py").write_text(f"_base_ = 'own_config.py'\n{lines}")
    train = [str(Path(mmdet.__file__).parent / ".mim" / "tools" / "train.py"), "guarded.py"]
    train += ["--work-dir", "guarded"]
    run(train, project)
    assert (project / "guarded" / "epoch_1.pth.sha256").is_file()
    options = ["train_cfg.max_epochs=2", "model.roi_head.bbox_head.loss_cls.loss_weight=inf"]
    result = start([*train, "--resume", "--cfg-options", *options], project)
    assert result.returncode != 0 and "resumed epoch: 1" in result.stdout + result.stderr
    assert list((project / "guarded").glob("bad_batch_iter_*.pth"))


def test_runner_is_found_by_mmdets_tools():
    """They build it from mmengine's own registry, which looks into mmdet's where that is named."""
    cfg = Config.fromfile(config_path("maskr_r50_fpn_1x"))
    assert RUNNERS.get(cfg.runner_type) is DurableRunner
