"""``maskr test --tile``: run on tiles of each image, compute AP on whole images."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmdet_maskr.apis import predictions
from mmdet_maskr.apis.detector import Detector, Wanted, collate_of, pipeline_of
from mmdet_maskr.apis.tiled import tiled, tiling_of
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.engine.unwrap import without_wrappers
from mmdet_maskr.inference.walk import Image

MAX_DETS = 10_000  # of an image and class that count, where the config does not say


def tiles_hook(cfg: Config, tile: int | str, overlap: float) -> TilesHook:
    """Change a config for a test on tiles, in place.

    The dataset returns only the paths of images, because windows are read one by one. A metric that
    counts COCO's 100 detections counts :data:`MAX_DETS` instead.

    Args:
        cfg: the config, with test-time augmentation if wanted.
        tile: side of the tiles in pixels of the images, or 'auto'.
        overlap: overlap of neighboring tiles, as a fraction of the side.

    Returns:
        The hook that the Runner needs.

    """
    before = Config(cfg._cfg_dict.to_dict(), filename=cfg.filename)
    hook = TilesHook(before, tile, overlap)
    wrappers.change_pipelines(
        cfg.test_dataloader.dataset, lambda pipeline: [ConfigDict(type="PackImagePath")]
    )
    evaluators = cfg.test_evaluator
    for metric in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
        if str(metric.get("type")).endswith("CocoInstanceMetric") and not metric.get("max_dets"):
            metric["max_dets"] = MAX_DETS
    return hook


class TilesHook(Hook):
    """Replaces the runner's model by a detector on tiles during the test.

    Args:
        cfg: the config, with the test pipeline for a tile.
        tile: see :func:`tiles_hook`.
        overlap: overlap of neighboring tiles.
    """

    priority = "LOWEST"  # the model in place is optimized and has its averaged weights

    def __init__(self, cfg: Config, tile: int | str, overlap: float) -> None:
        self._cfg, self._tile, self._overlap = cfg, tile, overlap

    def before_test_epoch(self, runner: Runner) -> None:
        """Wrap the model.

        Raises:
            UserError: tile or overlap is invalid, as in an inferencer.
        """
        wrapped = is_model_wrapper(runner.model)
        self._original = runner.model.module if wrapped else runner.model
        meta = runner.test_loop.dataloader.dataset.metainfo
        model = self._original
        if getattr(model, "dataset_meta", None) is None:
            model.dataset_meta = meta
        pipeline = pipeline_of(self._cfg)
        named = str(self._cfg.filename)
        detector = Detector(model, self._cfg, pipeline, collate_of(self._cfg), named)
        tiling = tiling_of(self._tile, self._overlap, model, pipeline)
        wanted = Wanted(
            detector,
            [0.0] * len(meta["classes"]),
            predictions.check_outputs(None, model, named),
        )
        batch_size = runner.test_loop.dataloader.batch_size or 1
        _put(runner, _OnTiles(wanted, tiled(wanted, tiling, batch_size)))

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Restore the model."""
        _put(runner, self._original)


def _put(runner: Runner, model: nn.Module) -> None:
    if is_model_wrapper(runner.model):
        runner.model.module = model
    else:
        runner.model = model


class _OnTiles(nn.Module):
    """A model for a Runner's test, whose batches are paths of images."""

    def __init__(self, wanted: Wanted, model: Any) -> None:
        super().__init__()
        self.module = wanted.detector.model
        self._model = model

    @torch.no_grad()
    def test_step(self, data: dict) -> list:
        """The data samples; ``pred_instances`` are those of whole images, with masks as RLEs."""
        samples = data["data_samples"]
        with predictions.rle_masks(without_wrappers(self.module)):
            for sample in samples:
                image = Image(sample.img_path, sample.img_path)
                (found,) = self._model.detect([self._model.prepare(image)])
                sample.pred_instances = found.sample.pred_instances
                sample.set_metainfo(dict(ori_shape=found.sample.ori_shape))
        return samples
