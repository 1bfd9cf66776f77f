"""Training loops that can begin in the middle of an epoch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

from mmdet.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop
from torch.utils.data import DataLoader

from mmdet_maskr.config_types import class_of


class ExactEpochs:
    """Goes before an epoch-based loop's class; batches that are None were trained on already.

    Attributes:
        position: batches of the current epoch that are done once the current iteration is.
    """

    position = 0
    dataloader: DataLoader
    _epoch: int
    _iter: int
    _max_epochs: int

    def go_on_at(self, position: int) -> None:
        """Count the iterations of the run anew: those that are done, and those that are left.

        Epochs may have become longer or shorter since, as with another batch size. The time left
        is reckoned by this.

        Args:
            position: batches of the current epoch that are done.
        """
        left = (self._max_epochs - self._epoch) * len(self.dataloader) - position
        self._max_iters = self._iter + max(left, 0)

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it."""
        super().run_epoch()  # type: ignore[misc]
        self.position = 0

    def run_iter(self, idx: int, data_batch: Sequence[dict] | None) -> None:
        """Iterate one batch; a None is passed over."""
        if data_batch is not None:
            self.position = idx + 1
            super().run_iter(idx, data_batch)  # type: ignore[misc]


@LOOPS.register_module()
class ExactEpochTrainLoop(ExactEpochs, EpochBasedTrainLoop):
    """mmengine's EpochBasedTrainLoop that can begin within an epoch."""


@functools.cache
def exact_class(kind: type[EpochBasedTrainLoop]) -> type[EpochBasedTrainLoop]:
    """A class of epoch-based loops, so that they can begin within an epoch."""
    if issubclass(kind, ExactEpochs):
        return kind
    if kind is EpochBasedTrainLoop:
        return ExactEpochTrainLoop
    return type(f"Exact{kind.__name__}", (ExactEpochs, kind), dict(__doc__=kind.__doc__))


def exact_settings(loop: dict) -> dict:
    """Settings of a training loop; an epoch-based one is of the class that can begin anywhere."""
    kind: Any = EpochBasedTrainLoop if loop.get("by_epoch") else None
    if "type" in loop:
        kind = class_of(loop["type"], LOOPS)
    if not inspect.isclass(kind) or not issubclass(kind, EpochBasedTrainLoop):
        return loop
    rest = {key: value for key, value in loop.items() if "type" in loop or key != "by_epoch"}
    return rest | dict(type=exact_class(kind))  # type: ignore[arg-type]


def exact_loop(loop: BaseLoop) -> BaseLoop:
    """A training loop that was built elsewhere; of an epoch-based one a copy of the exact class."""
    if not isinstance(loop, EpochBasedTrainLoop) or isinstance(loop, ExactEpochs):
        return loop
    kind: Any = exact_class(type(loop))  # type: ignore[arg-type]
    copied = kind.__new__(kind)
    vars(copied).update(vars(loop))
    return copied
