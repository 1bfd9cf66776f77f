"""mmengine's Runner, resuming exactly from the newest whole checkpoint."""

from __future__ import annotations

import copy
import os

from mmdet.registry import RUNNERS
from mmengine.dataset import InfiniteSampler
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmdet_maskr.datasets import wrappers
from mmdet_maskr.engine.durable_files import newest_checkpoint
from mmdet_maskr.engine.exact_loading import make_exact
from mmdet_maskr.errors import UserError


@RUNNERS.register_module()
class DurableRunner(Runner):
    """mmengine's Runner with data loading that any run can be resumed in, in mid-epoch too.

    A config chooses it by ``runner_type='mmdet.DurableRunner'``; the rest of an exact resume is
    DurableCheckpointHook's. Resuming without a path takes the newest checkpoint that is whole,
    where mmengine takes the one that ``last_checkpoint`` names whatever its state.
    """

    _load_from: str | None

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader as mmengine does; what it loads depends on seed and position alone.

        A DataLoader that is passed in is taken as it is.

        Raises:
            UserError: it would give no batch; data sets within a wrapper do not fit each other,
                or its pipeline leaves masks behind.
        """
        built = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if isinstance(dataloader, DataLoader):
            return built
        wrappers.prepare(built.dataset)
        if len(built) == 0 and not isinstance(built.sampler, InfiniteSampler):
            raise UserError(
                f"{type(built.dataset).__name__} has {len(built.dataset)} images, and that is no "
                f"batch of batch_size={built.batch_size} with drop_last=True: an epoch would be "
                "empty. Set a smaller batch_size, or drop_last=False."
            )
        return make_exact(built, 0 if seed is None else seed)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop; epoch-based ones can begin within an epoch."""
        if isinstance(loop, dict):
            loop = copy.deepcopy(loop)
            by_epoch = loop.pop("by_epoch", False) if "type" not in loop else False
            if by_epoch or loop.get("type") == "EpochBasedTrainLoop":
                loop["type"] = "ExactEpochTrainLoop"
            elif "type" not in loop:
                loop["type"] = "IterBasedTrainLoop"
        return super().build_train_loop(loop)

    def train(self) -> nn.Module:
        """Train; hooks with threads or signal handlers (a ``close``) end them, whatever happens.

        mmengine calls no hook when training raises, and in a notebook the process lives on.
        """
        try:
            return super().train()
        finally:
            for hook in self.hooks:
                if hasattr(hook, "close"):
                    hook.close()

    def load_or_resume(self) -> None:
        """Load weights, or go on from a checkpoint, as ``load_from`` and ``resume`` say."""
        if not self._has_loaded:
            self._resume_after_restart()
        if not self._has_loaded and self._resume and self._load_from is None:
            self._load_from = self._newest_checkpoint()
            if self._load_from is None:
                self.logger.info(f"no checkpoint in {self.work_dir}: training from the start")
                return
        super().load_or_resume()

    def _resume_after_restart(self) -> None:
        """After a restart by torchrun, go on from what this launch has saved, if anything.

        Older checkpoints do not count: they are of another run, and the options that this one was
        started with say what to do with them.
        """
        restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        launched = os.environ.get("MMDET_MASKR_LAUNCHED")  # set by tools/dist_train.sh
        if restarts == 0 or launched is None:
            return
        found = self._newest_checkpoint(newer_than=float(launched))
        if found is not None:
            self._resume, self._load_from = True, found
        self.logger.warning(
            f"restart {restarts} of at most {os.environ.get('TORCHELASTIC_MAX_RESTARTS')}: "
            + (f"going on from {found}" if found else "no checkpoint yet, starting as before")
        )

    def _newest_checkpoint(self, newer_than: float = 0.0) -> str | None:
        """What the first rank finds; the others might see a shared folder in another state."""
        found: list = [None, None]
        if is_main_process():
            try:
                found[0] = newest_checkpoint(self.work_dir, self.logger, newer_than)
            except UserError as error:
                found[1] = str(error)
        broadcast_object_list(found)
        if found[1] is not None:
            raise UserError(found[1])
        return found[0]
