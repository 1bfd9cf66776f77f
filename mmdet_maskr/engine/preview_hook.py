"""A page in the work dir that shows a running training."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_maskr.datasets.wrappers import one_metainfo
from mmdet_maskr.errors import UserError


@HOOKS.register_module()
class PreviewHook(Hook):
    """Writes ``preview.html``: what the training sees, its curves, and what the model finds.

    The page appears after a few iterations, gets new curves every minute and new pictures with
    each validation; a browser in which it is open reads it again by itself. It stands alone: no
    server, no network. The hook draws no random number, so the training is the same without it.

    What cannot be drawn or written is left out; the log says so once, and the training goes on.

    Args:
        images: how many images of the validation are shown, evenly spread over it.
        first: iteration after which the page is written for the first time.
        seconds: between two pages without a validation.
        score_thr: detections below it are not drawn.
        file: name of the page in the work dir.

    Raises:
        UserError: an option out of its range.
    """

    priority = "VERY_LOW"  # after what it shows is logged

    def __init__(
        self,
        images: int = 6,
        first: int = 5,
        seconds: float = 60.0,
        score_thr: float = 0.3,
        file: str = "preview.html",
    ) -> None:
        if images < 0 or first < 1 or seconds < 0 or not 0 <= score_thr <= 1:
            raise UserError(
                f"PreviewHook(images={images}, first={first}, seconds={seconds}, "
                f"score_thr={score_thr}): images and seconds must be at least 0, first at least "
                "1, and score_thr from 0 to 1."
            )
        if Path(file).name != file or not file.endswith(".html"):
            raise UserError(
                f"PreviewHook(file={file!r}): it must be a file name that ends in .html, without "
                "a folder."
            )
        self.images, self.first, self.seconds = images, first, seconds
        self.score_thr, self.file = score_thr, file
        self._batch: list | None = None
        self._results: list = []
        self._step = ""
        self._scores: dict[str, float] = {}
        self._written = 0.0
        self._seen = 0
        self._chosen: set[int] = set()
        self._told: set[str] = set()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Draw the first batch, before anyone changes it."""
        if self._batch is None and self.images and data_batch is not None:
            self._batch = []
            meta = _meta(runner.train_loop.dataloader.dataset)
            self._try(runner, "the batch", lambda: self._draw_batch(data_batch, meta))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Write the page early, and then now and again."""
        due = time.monotonic() - self._written >= self.seconds
        if runner.iter + 1 == self.first or (runner.iter + 1 > self.first and due):
            self._write(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """Choose the images that are shown."""
        count = len(runner.val_loop.dataloader.dataset)
        places = np.linspace(0, count - 1, min(self.images, count)).round().astype(int)
        self._chosen, self._seen, self._results = set(places.tolist()), 0, []

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Any = None,
    ) -> None:
        """Draw the chosen ones."""
        for sample in outputs or ():
            if self._seen in self._chosen:
                meta = _meta(runner.val_loop.dataloader.dataset)
                draw = partial(self._draw_result, sample, meta)
                self._try(runner, "a validation image", draw)
            self._seen += 1

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the page with what the validation found."""
        self._scores = {k: v for k, v in (metrics or {}).items() if k.endswith("_mAP")}
        self._step = f"after iteration {runner.iter}"
        self._write(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        """Write it for the last time."""
        self._write(runner, runner.iter, ended=True)

    def _draw_batch(self, batch: dict, meta: dict) -> None:
        from mmdet_maskr.report.preview import draw_batch

        self._batch = draw_batch(batch, meta, 8)

    def _draw_result(self, sample: Any, meta: dict) -> None:
        from mmdet_maskr.report.preview import draw_result

        self._results.append(draw_result(sample, meta, self.score_thr))

    def _write(self, runner: Runner, iteration: int, ended: bool = False) -> None:
        from mmdet_maskr.report.preview import write_preview
        from mmdet_maskr.visualization.curves import AP_NAMES

        self._written = time.monotonic()
        name = Path(runner.cfg.filename or runner.experiment_name).stem
        out = Path(runner.work_dir) / self.file
        loss = runner.message_hub.log_scalars.get("train/loss")
        tiles = [("Iteration", str(iteration), f"of {runner.max_iters}")]
        if loss is not None:
            tiles.append(("Loss", f"{loss.mean(50):.3f}", "mean of the last 50 iterations"))
        tiles += [
            (AP_NAMES.get(key, key), f"{100 * max(value, 0):.1f}", self._step)
            for key, value in self._scores.items()
        ]
        self._try(
            runner,
            "the page",
            lambda: write_preview(
                out,
                f"{'Trained' if ended else 'Training'}: {name}",
                tiles,
                self._batch or [],
                self._results,
                self._step,
                ended,
            ),
        )

    def _try(self, runner: Runner, what: str, action: Callable[[], None]) -> None:
        """Do something on the main process that must not end the training; say once if it fails."""
        if not is_main_process():
            return
        try:
            action()
        except (UserError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            if what not in self._told:
                reason = f"{type(error).__name__}: {error}"
                runner.logger.warning(f"{self.file}: {what} is left out ({reason})")
            self._told.add(what)


def _meta(dataset: Any) -> dict:
    return one_metainfo(dataset.metainfo, "the preview")
