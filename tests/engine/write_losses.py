"""Hooks for tests: losses, bit for bit, in a file of each rank; a rank that dies once."""

import os
import signal
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class WriteLosses(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        losses = {name: float(value).hex() for name, value in sorted(outputs.items())}
        with (Path(runner.work_dir) / f"losses_{get_rank()}.txt").open("a") as file:
            file.write(f"{runner.iter} {runner.epoch} {batch_idx} {losses}\n")


@HOOKS.register_module()
class DieOnce(Hook):
    """In the first launch, one rank is killed; after a restart all is well."""

    def __init__(self, rank: int, iteration: int) -> None:
        self.rank, self.iteration = rank, iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if first and (get_rank(), runner.iter) == (self.rank, self.iteration):
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class SignalJob(Hook):
    """Signals all processes of a distributed job on this machine, torchrun three times."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (get_rank(), runner.iter) == (1, self.iteration):
            for _ in range(2):
                os.killpg(0, signal.SIGTERM)
            for _ in range(3):
                os.kill(os.getppid(), signal.SIGTERM)


@HOOKS.register_module()
class StopNode(Hook):
    """Signals the agent of one node."""

    def __init__(self, node: int, iteration: int) -> None:
        self.node, self.iteration = str(node), iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (os.environ["NODE_RANK"], runner.iter) == (self.node, self.iteration):
            os.kill(os.getppid(), signal.SIGTERM)
