"""A hook that appends each iteration's losses, bit for bit, to a file of each rank."""

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
