"""Training batches that depend only on the seed and their position.

Stock data loading draws flips and crops from generators that live in the data workers and in the
main process, whose states depend on all that was loaded before: a run that is resumed sees other
batches, and one with another number of workers too. Here each batch seeds the generators anew
from (seed, rank, epoch, position), so that any batch can be loaded without those before it.
Transforms that keep images of earlier batches (mmdet's CachedMosaic, CachedMixUp) stay inexact.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import get_rank
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

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

    _running: weakref.ref | None = None

    def _get_iterator(self) -> Any:
        with blocked_signals(SIGNALS), _out_of_collections():  # until a worker's first act
            iterator = super()._get_iterator()
        self._running = weakref.ref(iterator)
        return iterator

    def end_workers(self) -> None:
        """End the workers that are there; iterating again starts others.

        Workers that stay, or that an endless iteration has, end with the loader otherwise. Runners
        are in cycles of references, so that is when the garbage collector comes to them, and its
        order of deleting lets each worker take five seconds to end.
        """
        iterator = self._running() if self._running is not None else None
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._running = self._iterator = None


@contextmanager
def _out_of_collections() -> Iterator[None]:
    """Let forked workers share what there is already.

    Python's garbage collection writes to every object it looks at, so that each worker would soon
    have a copy of all of this process; what is frozen at a fork it leaves alone.
    """
    was = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not was:
            gc.unfreeze()


class WorkerStart:
    """A data worker's first act: to see to it that it ends with its process, and not before.

    A process that is killed cannot end its workers, and these then hang for good in a queue that
    nobody reads, with their memory. One that saves at a signal needs them until it has saved.
    OpenCV gets one thread, as torch has in a worker: the cores are for the other workers. Then the
    loader's own ``worker_init_fn`` is called.
    """

    def __init__(self, init: Callable[[int], None] | None) -> None:
        self.init = init

    def __call__(self, worker_id: int) -> None:
        end_with_parent(KILL)
        leave_signals_to_parent()
        cv2.setNumThreads(0)
        if self.init is not None:
            self.init(worker_id)


class ExactDataLoader(GuardedDataLoader):
    """A DataLoader that begins when its first batch is wanted and can pass over batches.

    mmengine's iteration-based loop makes its iterator before a checkpoint is loaded; stock data
    workers would begin to load from the start at that moment.

    Args:
        built: a stock loader with a batch sampler, from which nothing was loaded yet.
        seed: of the run; the same on all ranks.

    Attributes:
        batches: the indices of each batch.
        passing: so many batches are given as None, without loading them.
    """

    passing = 0

    def __init__(self, built: DataLoader, seed: int) -> None:
        # beginning to iterate draws a number, which is not to come out of the model's generator
        super().__init__(**_arguments(built), generator=torch.Generator())
        self.batches = PositionedBatchSampler(self.batch_sampler, seed, get_rank())
        self.dataset.__getitems__ = SeededFetch(self.dataset)

    @property
    def _index_sampler(self) -> PositionedBatchSampler:
        """What torch iterates; samplers and the size of batches are as in a stock loader."""
        return self.batches

    def __iter__(self) -> Iterator:
        while self.passing:
            if not self.batches.pass_over():
                return
            self.passing -= 1
            yield None
        yield from super().__iter__()


def exact_loader(built: DataLoader, seed: int) -> DataLoader:
    """The :class:`ExactDataLoader` of a stock DataLoader; without a batch sampler a guarded one.

    Subclasses are left as they are. Iterable datasets stay inexact.
    """
    if type(built) is not DataLoader:
        return built
    if not hasattr(built.batch_sampler, "sampler"):
        return GuardedDataLoader(**_arguments(built), generator=built.generator)
    return ExactDataLoader(built, seed)


def _arguments(built: DataLoader) -> dict[str, Any]:
    """What a DataLoader was made with, but for its generator."""
    names = (
        "dataset", "num_workers", "collate_fn", "pin_memory", "timeout", "prefetch_factor",
        "multiprocessing_context", "persistent_workers", "pin_memory_device", "in_order",
    )  # fmt: skip
    found = {name: getattr(built, name) for name in names if hasattr(built, name)}
    if built.batch_size is None and built.batch_sampler is not None:  # one of its own
        found["batch_sampler"] = built.batch_sampler
    else:
        found |= dict(batch_size=built.batch_size, drop_last=built.drop_last)
        if not isinstance(built.dataset, IterableDataset):
            found["sampler"] = built.sampler
    return found | dict(worker_init_fn=WorkerStart(built.worker_init_fn))
