"""mmengine's Runner, resuming exactly from the newest whole checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mmdet.registry import RUNNERS
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import (
    BaseLoop,
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Priority,
    Runner,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmdet_maskr.datasets import wrappers
from mmdet_maskr.engine import resume
from mmdet_maskr.engine.checkpoint_hook import DurableCheckpointHook
from mmdet_maskr.engine.config_errors import explained
from mmdet_maskr.engine.config_parts import check_parts
from mmdet_maskr.engine.console import shorten_console
from mmdet_maskr.engine.durable_files import newest_checkpoint
from mmdet_maskr.engine.exact_loading import GuardedDataLoader, exact_loader
from mmdet_maskr.engine.loader_defaults import with_defaults
from mmdet_maskr.engine.loops import exact_loop, exact_settings
from mmdet_maskr.engine.optimizers import check_optimizers
from mmdet_maskr.engine.schedule_changes import Settings, check_optimizer
from mmdet_maskr.engine.score_keys import check_score_keys
from mmdet_maskr.errors import UserError
from mmdet_maskr.mmcv_extension import serving


@RUNNERS.register_module()
class DurableRunner(Runner):
    """mmengine's Runner with data loading that any run can be resumed in, in mid-epoch too.

    A config chooses it by ``runner_type='mmdet.DurableRunner'``; the rest of an exact resume is
    DurableCheckpointHook's. Resuming without a path takes the newest checkpoint that is whole,
    where mmengine takes the one that ``last_checkpoint`` names without checking it.
    """

    _load_from: str | None
    settings: Settings | None = None
    _loaded: dict = {}
    _hooks: list[Hook]

    @classmethod
    def from_cfg(cls, cfg: Config) -> DurableRunner:
        """Build a runner from a config whose parts are registered and have these options.

        Raises:
            UserError: one is not, or has not; names its key in the config. What only training,
                validation or testing builds is looked at when that begins.
        """
        check_parts(cfg)
        with explained(cfg):
            return super().from_cfg(cfg)

    def build_logger(
        self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any
    ) -> MMLogger:
        """Build a logger as mmengine does; with ``short_console`` in the config of short lines."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        if self.cfg.get("short_console"):
            shorten_console(logger)
        return logger

    def _log_env(self, env_cfg: dict) -> None:
        """As mmengine; also what computes MMCV's ops."""
        super()._log_env(env_cfg)
        self.logger.info(f"MMCV's ops are computed by {serving()}.")

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader as mmengine does; what it loads depends on seed and position alone.

        Options of workers that the config leaves out are those of :mod:`.loader_defaults`. A
        DataLoader that is passed in is taken as it is.

        Raises:
            UserError: it would give no batch; datasets within a wrapper do not fit each other,
                or its pipeline leaves masks behind.
        """
        if isinstance(dataloader, dict):
            dataloader = with_defaults(dataloader)
        built = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if isinstance(dataloader, DataLoader):
            return built
        wrappers.prepare(built.dataset)
        if len(built) == 0 and not isinstance(built.sampler, InfiniteSampler):
            raise UserError(
                f"{type(built.dataset).__name__} has {len(built.dataset)} images, which is less "
                f"than one batch of batch_size={built.batch_size} with drop_last=True, so an "
                "epoch would be empty. Set a smaller batch_size, or drop_last=False."
            )
        return exact_loader(built, 0 if seed is None else seed)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop; epoch-based ones, of any class, can begin in an epoch."""
        return exact_loop(
            super().build_train_loop(exact_settings(loop) if isinstance(loop, dict) else loop)
        )

    def train(self) -> nn.Module:
        """Train; hooks with threads or signal handlers (a ``close``) end them in any case.

        mmengine calls no hook when training raises, and in a notebook the process lives on. Data
        workers end as well, here and in :meth:`val` and :meth:`test`.
        """
        check_parts(self.cfg, ("train", "val"))
        try:
            with explained(self.cfg):
                return super().train()
        finally:
            for hook in self.hooks:
                if hasattr(hook, "close"):
                    hook.close()
            self._end_workers()

    def val(self) -> dict:
        """Validate, as mmengine does."""
        check_parts(self.cfg, ("val",))
        try:
            with explained(self.cfg):
                return super().val()
        finally:
            self._end_workers()

    def test(self) -> dict:
        """Test, as mmengine does."""
        check_parts(self.cfg, ("test",))
        try:
            with explained(self.cfg):
                return super().test()
        finally:
            self._end_workers()

    def _end_workers(self) -> None:
        for loop in (self._train_loop, self._val_loop, self._test_loop):
            loader = getattr(loop, "dataloader", None)
            if isinstance(loader, GuardedDataLoader):
                loader.end_workers()

    def load_or_resume(self) -> None:
        """Load weights, or go on from a checkpoint, as ``load_from`` and ``resume`` say."""
        if isinstance(self.optim_wrapper, OptimWrapper):  # only a training builds it
            self.settings = Settings(self)
        if not self._has_loaded:
            self._resume_after_restart()
        if not self._has_loaded and self._resume and self._load_from is None:
            self._load_from = self._newest_checkpoint()
            if self._load_from is None:
                self.logger.info(f"no checkpoint in {self.work_dir}: training from the start")
                return
        super().load_or_resume()

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Go on from a checkpoint, with rates and schedules of the config where these differ.

        Raises:
            UserError: the state of its optimizer is of another one, or of other parameters.
        """
        super().resume(filename, *args, **kwargs)
        loaded, self._loaded = self._loaded, {}
        if self.settings is not None and "optimizer" in loaded:
            for line in self.settings.prevail(self, loaded):
                self.logger.warning(line)
        self._say_if_done()

    def _say_if_done(self) -> None:
        loop = self._train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            unit, done, last = "epochs", loop.epoch, loop.max_epochs
        elif isinstance(loop, IterBasedTrainLoop):
            unit, done, last = "iterations", loop.iter, loop.max_iters
        else:
            return
        if done >= last:
            self.logger.warning(
                f"nothing left to train: the checkpoint has {done} {unit}, and train_cfg ends at "
                f"{last}."
            )

    def register_hook(
        self, hook: Hook | dict, priority: str | int | Priority | None = None
    ) -> None:
        """Register a hook; DurableCheckpointHook stays the last, so that all others have acted.

        EarlyStoppingHook, say, has a lower priority, and what it saw last would be forgotten.
        """
        super().register_hook(hook, priority)
        last = [hook for hook in self._hooks if isinstance(hook, DurableCheckpointHook)]
        self._hooks = [hook for hook in self._hooks if hook not in last] + last

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call all hooks, of a run that can succeed; a loaded checkpoint is one they can read.

        Where only validation or test runs, without those that would begin a training.

        Raises:
            UserError: before training, for scores that no evaluator gives and optimizers that
                could not do a step.
        """
        if fn_name == "before_run" and isinstance(self._train_loop, BaseLoop):
            check_score_keys(self)
            check_optimizers(self)
        if fn_name == "after_load_checkpoint":
            self._prepare(kwargs["checkpoint"])
        if isinstance(self._train_loop, BaseLoop):
            super().call_hook(fn_name, **kwargs)
            return
        for hook in self._hooks:  # as mmengine does
            if hasattr(hook, fn_name) and not _needs_training(hook, fn_name):
                getattr(hook, fn_name)(self, **kwargs)

    def _prepare(self, checkpoint: Any) -> None:
        if not isinstance(checkpoint, dict):
            return
        if "state_dict" not in checkpoint:
            if any(isinstance(value, Tensor) for value in checkpoint.values()):  # weights alone
                weights = dict(checkpoint)
                checkpoint.clear()
                checkpoint["state_dict"] = weights
            else:
                return  # CheckpointFitHook says what it is
        meta = checkpoint.setdefault("meta", {})
        if isinstance(meta, dict):
            meta.pop("config", None)  # a program, which mmengine would run
        if self._resume and self.settings is not None:
            checkpoint.setdefault("message_hub", self.message_hub.state_dict())
            self._loaded = dict(checkpoint)  # before hooks take from it
            check_optimizer(self.settings, checkpoint, str(self._load_from))
            if not any(isinstance(hook, EMAHook) for hook in self.hooks):
                self._take_trained(checkpoint)

    def _take_trained(self, checkpoint: dict) -> None:
        """Put the weights that were trained in the place of their averages.

        EMAHook saves them the other way round, and alone would turn them when resuming.
        """
        trained = checkpoint.pop("ema_state_dict", None)
        if not isinstance(trained, dict):
            return
        weights = dict(checkpoint["state_dict"])
        for name, value in trained.items():
            if name.startswith("module.") and name.removeprefix("module.") in weights:
                weights[name.removeprefix("module.")] = value
        checkpoint["state_dict"] = weights
        self.logger.warning(
            "the checkpoint is from a run with EMAHook, but custom_hooks has none: training "
            "continues without EMA, from the trained weights."
        )

    def _resume_after_restart(self) -> None:
        """After a restart by torchrun, go on from what this launch has saved, if anything.

        Other checkpoints do not count: they are of another run, and the options that this one was
        started with say what to do with them. With several nodes no rank knows by itself whether it
        is a restart: a node whose own processes were well does not count it, and one that has come
        back is new, and may have the first rank. So all are asked, and what any of their launches
        has saved counts.
        """
        launch = resume.launch()
        if launch is None:
            return
        own = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        ranks: list[tuple[str, int]] = all_gather_object((launch, own))
        launches, restarts = {name for name, _ in ranks}, max(count for _, count in ranks)
        if restarts == 0 and len(launches) == 1:
            return  # the first start, on one node
        found = self._newest_checkpoint(
            lambda content: not launches.isdisjoint(resume.launches_of(content))
        )
        if found is not None:
            self._resume, self._load_from = True, found
        elif restarts == 0:
            return
        self.logger.warning(
            f"restart {restarts} of at most {os.environ.get('TORCHELASTIC_MAX_RESTARTS')}: "
            + (f"continuing from {found}" if found else "no checkpoint yet, starting as before")
        )

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """Build an evaluator as mmengine does, whose ranks meet in the work dir.

        mmengine's metrics put the parts of the ranks into the current folder, which several nodes
        need not share; the work dir they have to.
        """
        built = super().build_evaluator(evaluator)
        for index, metric in enumerate(built.metrics):
            if getattr(metric, "collect_device", None) != "cpu":
                continue  # it has no files
            if metric.collect_dir is None:
                metric.collect_dir = os.path.join(self.work_dir, f".collected_{index}")
        return built

    def _newest_checkpoint(self, accepts: Callable[[dict], bool] | None = None) -> str | None:
        """What the first rank finds; the others might see a shared folder in another state."""
        found: list = [None, None]
        if is_main_process():
            try:
                found[0] = newest_checkpoint(
                    self.work_dir, self.logger, accepts, self._checkpoint_dir()
                )
            except UserError as error:
                found[1] = str(error)
        broadcast_object_list(found)
        if found[1] is not None:
            raise UserError(found[1])
        return found[0]

    def _checkpoint_dir(self) -> str | None:
        """Where CheckpointHook will write, if its ``out_dir`` is another folder of this machine."""
        for hook in self.hooks:
            out_dir = getattr(hook, "out_dir", None) if isinstance(hook, CheckpointHook) else None
            if out_dir and out_dir != self.work_dir and "://" not in out_dir:
                return os.path.join(out_dir, os.path.basename(self.work_dir.rstrip(os.sep)))
        return None


def _needs_training(hook: Hook, fn_name: str) -> bool:
    """Whether a hook would build the training loop, or save, where only validation or test runs."""
    if fn_name == "after_val_epoch" and isinstance(hook, CheckpointHook):
        return True  # with save_best it has no folder to save in
    return isinstance(hook, EarlyStoppingHook)
