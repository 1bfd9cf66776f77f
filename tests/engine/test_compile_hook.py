"""Padded shapes and compiled parts: the numbers of a training without them, in few shapes."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import child_training as child
import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.structures import InstanceData

from mmdet_maskr.engine.building import build_runner
from mmdet_maskr.engine.compile_hook import CompileHook
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.data_preprocessors.batched import BatchedDataPreprocessor
from mmdet_maskr.structures.geometry_masks import GeometryMasks

SIZES = [(128, 160), (128, 128)]


class Notes(Hook):
    """Losses of each iteration, and the shapes of the batches."""

    def __init__(self) -> None:
        self.losses: list[dict] = []
        self.shapes: Counter = Counter()

    def before_train(self, runner) -> None:
        def note(module, args: tuple, data: dict) -> None:
            self.shapes.update([tuple(data["inputs"].shape)])

        runner.model.data_preprocessor.register_forward_hook(note)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append({name: float(value) for name, value in outputs.items()})


def options(data: Path, work_dir: Path, **more) -> Config:
    cfg = child.config(
        data, work_dir, train_cfg__max_epochs=1, train_dataloader__num_workers=0,
        val_cfg=None, val_dataloader=None, val_evaluator=None,
        default_hooks__checkpoint=None, custom_hooks=[],
        model__data_preprocessor__pad_to_sizes=SIZES, **more,
    )  # fmt: skip
    cfg.train_dataloader.dataset.indices = 4  # two iterations
    cfg.model.roi_head.keypoint_head = cfg.model.roi_head.keypoint_roi_extractor = None
    cfg.experiment_name = work_dir.name
    return cfg


def trained(cfg: Config, hook: Hook | None = None) -> tuple[Notes, dict]:
    runner = build_runner(cfg)
    notes = Notes()
    for own in filter(None, (notes, hook)):
        runner.register_hook(own)
    runner.train()
    return notes, runner.model.state_dict()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> tuple[Notes, dict]:
    """Of images that are padded, and nothing else."""
    return trained(options(shapes_root, tmp_path_factory.mktemp("plain")))


def test_compiled_parts(plain, tmp_path: Path, shapes_root: Path):
    """Traced, without a code generator: bit by bit the same; a graph for each shape."""
    graphs: Counter = Counter()

    def backend(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        graphs["all"] += 1
        return graph.forward

    hook = CompileHook(("backbone", "neck"), backend=backend)
    notes, weights = trained(options(shapes_root, tmp_path), hook)
    assert notes.losses == plain[0].losses and len(notes.losses) == 2
    assert all(torch.equal(weights[name], value) for name, value in plain[1].items())
    assert set(plain[0].shapes) == {(2, 3, 128, 128)}
    assert 2 <= graphs["all"] <= 4  # one a part, and what breaks


def test_padded_rois(plain, tmp_path: Path, shapes_root: Path):
    """Losses and weights are the same up to rounding; heads see multiples of the number."""
    cfg = options(shapes_root, tmp_path, model__train_cfg__rcnn__pad_rois=24)
    rows: Counter = Counter()
    runner = build_runner(cfg)
    head = runner.model.roi_head
    for part in (head.bbox_head, head.mask_head.convs):
        part.register_forward_pre_hook(lambda module, args: rows.update([len(args[0])]))
    notes = Notes()
    runner.register_hook(notes)
    runner.train()
    assert len(rows) >= 1 and all(count > 0 and count % 24 == 0 for count in rows)
    for own, other in zip(notes.losses, plain[0].losses, strict=True):
        assert own == pytest.approx(other, rel=1e-4, abs=1e-6)
    for name, value in plain[1].items():
        torch.testing.assert_close(runner.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(model__data_preprocessor__pad_to_sizes=None), "few sizes"),
        (dict(custom_hooks=[dict(type="CompileHook")]), "pad_rois=256"),
        (dict(custom_hooks=[dict(type="CompileHook", parts=["spine"])]), "spine"),
        (dict(model__train_cfg__rcnn__pad_rois=0), "from 1 on"),
        (dict(model__data_preprocessor__pad_to_sizes=[(100, 128)]), "multiples"),
        (dict(model__data_preprocessor__pad_to_sizes=[(64, 96)]), "fits none"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(tmp_path: Path, shapes_root: Path, change: dict, message: str):
    cfg = options(shapes_root, tmp_path)
    cfg.custom_hooks = [dict(type="CompileHook", parts=["backbone"], backend="eager")]
    if "fits" in message:
        cfg.custom_hooks = []
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in change.items()})
    with pytest.raises(UserError, match=message):
        trained(cfg)


@pytest.mark.parametrize("value", [0, 7])
def test_padded_images(value: int):
    """mmdet's images within, the padding's number around; masks and shapes follow; not in tests."""
    settings = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], pad_size_divisor=32,
                    pad_value=value, pad_mask=True)  # fmt: skip
    ours = BatchedDataPreprocessor(pad_to_sizes=[(96, 96), (64, 96), (96, 64)], **settings)
    stock = DetDataPreprocessor(**settings)
    for size, padded in (((60, 70), (64, 96)), ((90, 64), (96, 64)), ((90, 65), (96, 96))):
        sample = DetDataSample(metainfo=dict(img_shape=size))
        sample.gt_instances = InstanceData(masks=GeometryMasks([[[0, 0, 9, 0, 9, 9]]], *size))
        data = dict(inputs=[torch.randint(256, (3, *size)).byte()], data_samples=[sample])
        expected = stock(copy.deepcopy(data), True)["inputs"]
        found = ours(copy.deepcopy(data), True)
        batch, height, width = found["inputs"], *expected.shape[-2:]
        assert batch.shape == (1, 3, *padded)
        assert torch.equal(batch[..., :height, :width], expected)
        assert batch[..., height:, :].eq(value).all() and batch[..., width:].eq(value).all()
        meta = found["data_samples"][0]
        assert meta.batch_input_shape == padded == (
            meta.gt_instances.masks.height, meta.gt_instances.masks.width
        )  # fmt: skip
        assert meta.pad_shape == (height, width)
        assert ours(copy.deepcopy(data), False)["inputs"].shape == expected.shape


def test_batch_norm_sees_no_empty_rois(shapes_root: Path, tmp_path: Path):
    cfg = options(shapes_root, tmp_path, model__train_cfg__rcnn__pad_rois=8).model
    cfg.roi_head.mask_head.norm_cfg = dict(type="BN")
    with pytest.raises(UserError, match="batch norm"):
        MODELS.build(cfg)
