"""Training data whose every batch depends on the seed and its position alone.

Stock data loading draws flips and crops from generators that live in the data workers and in the
main process, whose states depend on all that was loaded before: a run that is resumed sees other
batches, and one with another number of workers too. Here each batch seeds the generators anew
from (seed, rank, epoch, position), so that any batch can be loaded without those before it.
Transforms that keep images of earlier batches (mmdet's CachedMosaic, CachedMixUp) stay inexact.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from torch.utils.data import DataLoader, Dataset, get_worker_info

from mmdet_maskr.engine.child_processes import end_with_parent
from mmdet_maskr.engine.signals import SIGNALS, leave_signals_to_parent
from mmdet_maskr.platforms import KILL, blocked_signals


class SeededBatch(list):
    """Indices of a batch, and the ``key`` (seed, rank, epoch, position) that seeds its loading."""

    key: tuple[int, ...]


class PositionedBatchSampler:
    """Gives the batches of another batch sampler as :class:`SeededBatch`, and can pass over some.

    Args:
        batch_sampler: gives lists of indices; its ``sampler`` may have an ``epoch``.
        seed: of the run; the same on all ranks.
        rank: of this process.
    """

    def __init__(self, batch_sampler: Any, seed: int, rank: int) -> None:
        self.batch_sampler = batch_sampler
        self.sampler = batch_sampler.sampler
        self.batch_size = batch_sampler.batch_size
        self.drop_last = batch_sampler.drop_last
        self.seed = seed
        self.rank = rank
        self._begun: Iterator | None = None

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        begun = self._begun if self._begun is not None else enumerate(self.batch_sampler)
        self._begun = None
        epoch = getattr(self.sampler, "epoch", 0)
        for position, indices in begun:
            batch = SeededBatch(indices)
            batch.key = (self.seed, self.rank, epoch, position)
            yield batch

    def pass_over(self) -> bool:
        """Leave out the next batch of the next iteration; whether there was one."""
        if self._begun is None:
            self._begun = enumerate(self.batch_sampler)
        if next(self._begun, None) is None:
            self._begun = None  # the next iteration is another pass
            return False
        return True


class SeededFetch:
    """Loads the samples of a :class:`SeededBatch`; DataLoader finds it as ``__getitems__``."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __call__(self, batch: SeededBatch) -> list:
        if get_worker_info() is not None:
            seed_generators(batch.key)
            return [self.dataset[index] for index in batch]
        with preserved_generators():  # in the main process the model draws from the same ones
            seed_generators(batch.key)
            return [self.dataset[index] for index in batch]


def seed_generators(key: tuple[int, ...]) -> None:
    """Seed Python's, numpy's and torch's (CPU) global generators from ``key``."""
    words = np.random.SeedSequence([abs(word) for word in key]).generate_state(4, np.uint32)
    random.seed(words.tobytes())
    np.random.seed(words)
    torch.default_generator.manual_seed(int(words.view(np.uint64)[0] >> np.uint64(1)))


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Give the three generators their states back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class GuardedDataLoader(DataLoader):
    """A DataLoader whose workers no signal to a whole job ends, see :class:`WorkerStart`."""

    def _get_iterator(self) -> Any:
        with blocked_signals(SIGNALS):  # until a worker's first act
            return super()._get_iterator()


class ExactDataLoader(GuardedDataLoader):
    """A DataLoader that begins when its first batch is wanted and can pass over batches.

    mmengine's iteration-based loop makes its iterator before a checkpoint is loaded; stock data
    workers would begin to load from the start at that moment.

    Attributes:
        passing: so many batches are given as None, without loading them.
    """

    passing = 0

    def __iter__(self) -> Iterator:
        while self.passing:
            if not self.batch_sampler.pass_over():
                return
            self.passing -= 1
            yield None
        yield from super().__iter__()


class WorkerStart:
    """A data worker's first act: to see to it that it ends with its process, and not before.

    A process that is killed cannot end its workers, and these then hang for good in a queue that
    nobody reads, with their memory. One that saves at a signal needs them until it has saved.
    Then the loader's own ``worker_init_fn`` is called.
    """

    def __init__(self, init: Callable[[int], None] | None) -> None:
        self.init = init

    def __call__(self, worker_id: int) -> None:
        end_with_parent(KILL)
        leave_signals_to_parent()
        if self.init is not None:
            self.init(worker_id)


def make_exact(loader: DataLoader, seed: int) -> DataLoader:
    """Turn a DataLoader that was not iterated yet into an :class:`ExactDataLoader`, in place.

    Left as they are: subclasses. Loaders without batches and iterable data sets stay inexact.
    """
    if type(loader) is not DataLoader:
        return loader
    loader.worker_init_fn = WorkerStart(loader.worker_init_fn)
    if not hasattr(loader.batch_sampler, "sampler"):
        loader.__class__ = GuardedDataLoader
        return loader
    # DataLoader takes neither a batch sampler nor another class once it is built, and mmengine
    # builds it inside of one long function.
    vars(loader)["batch_sampler"] = PositionedBatchSampler(loader.batch_sampler, seed, get_rank())
    loader.__class__ = ExactDataLoader
    loader.dataset.__getitems__ = SeededFetch(loader.dataset)
    # beginning to iterate draws a number, which is not to come out of the model's generator
    loader.generator = torch.Generator()
    return loader
