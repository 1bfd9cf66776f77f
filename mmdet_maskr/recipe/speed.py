"""Measures the speed of training and validation on this machine, on a few photos."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from statistics import median

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

from mmdet_maskr.engine.channels_last import turn_on_channels_last
from mmdet_maskr.engine.durable_runner import DurableRunner
from mmdet_maskr.recipe.plan import Speed

STEPS = 4  # of which the first one is not counted
PHOTOS = 3
LOADED = 1.2  # what data workers and hooks cost besides


def measure(cfg: Config) -> Speed:
    """Train for a few iterations and detect on a few photos, with a temporary model.

    Args:
        cfg: config with its own loaders for training and validation.
    """
    init_default_scope("mmdet")
    with _quiet():
        set_random_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        turn_on_channels_last(model, ("cpu",))
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        loaders = [
            DurableRunner.build_dataloader(
                {**cfg[f"{split}_dataloader"], "num_workers": 0, "persistent_workers": False}, 0
            )
            for split in ("train", "val")
        ]
        model.train()
        steps = _times(loaders[0], lambda batch: model.train_step(batch, wrapper), STEPS)
        model.eval()
        _keep_all(model)
        with torch.no_grad():
            photos = _times(loaders[1], model.val_step, PHOTOS)
    return Speed(median(steps) * LOADED, median(photos) * LOADED)


def _keep_all(model: torch.nn.Module) -> None:
    """Let an untrained model find as many objects as a trained one could at most.

    Each costs a mask. An untrained one of many classes scores all of them below the threshold.
    """
    test_cfg = getattr(getattr(model, "roi_head", None), "test_cfg", None)
    if test_cfg is not None and "score_thr" in test_cfg:
        test_cfg.score_thr = 0.0


def _times(loader, work, count: int) -> list[float]:
    """Seconds of loading and work, of all but the first where there are several."""
    times = []
    start = time.perf_counter()
    for batch in islice(loader, count):
        work(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        times.append(now - start)
        start = now
    return times[1:] or times


@contextmanager
def _quiet() -> Iterator[None]:
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints while it reads
            yield
    finally:
        logger.setLevel(level)
