"""Training loops that can begin in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop


@LOOPS.register_module()
class ExactEpochTrainLoop(EpochBasedTrainLoop):
    """mmengine's EpochBasedTrainLoop; batches that are None were trained on before the resume.

    Attributes:
        position: batches of the current epoch that are done once the current iteration is.
    """

    position = 0

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it."""
        super().run_epoch()
        self.position = 0

    def run_iter(self, idx: int, data_batch: Sequence[dict] | None) -> None:
        """Iterate one batch; a None is passed over."""
        if data_batch is not None:
            self.position = idx + 1
            super().run_iter(idx, data_batch)
