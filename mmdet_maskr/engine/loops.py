"""Training loops that can begin in the middle of an epoch."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mmdet.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop


class ExactEpochs:
    """Goes before an epoch-based loop's class; batches that are None were trained on already.

    Attributes:
        position: batches of the current epoch that are done once the current iteration is.
    """

    position = 0

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
