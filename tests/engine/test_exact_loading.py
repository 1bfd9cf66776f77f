"""Batches that are passed over when a run goes on."""

from __future__ import annotations

import gc

import pytest
import torch
from mmengine.runner import loops
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mmdet_maskr.engine.exact_loading import exact_loader


def batches(passing: int, wanted: int, monkeypatch: pytest.MonkeyPatch) -> list:
    """The first batches after ``passing`` of an endless loop over 3 a pass."""
    monkeypatch.setattr(loops.time, "sleep", lambda seconds: None)  # before each pass
    torch.manual_seed(0)
    loader = exact_loader(DataLoader(TensorDataset(torch.arange(6.0)), batch_size=2), seed=0)
    endless = loops._InfiniteDataloaderIterator(loader)
    loader.passing = passing
    assert [next(endless) for _ in range(passing)] == [None] * passing
    return [next(endless)[0].tolist() for _ in range(wanted)]


@pytest.mark.parametrize("passing", range(8))
def test_passes_that_are_over(passing: int, monkeypatch: pytest.MonkeyPatch):
    """Going on at any iteration, in the first pass over the data or a later one."""
    undisturbed = batches(0, 9, monkeypatch)
    assert undisturbed[:4] == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [0.0, 1.0]]
    assert batches(passing, 2, monkeypatch) == undisturbed[passing : passing + 2]


class Collected(Dataset):
    """Whether the garbage collection of a process looks at what was there before it."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> bool:
        return any(thing is KEPT for thing in gc.get_objects())


KEPT = ["a list that is there before any worker"]


def test_workers_share_what_was_there_before():
    assert Collected()[0]
    loader = exact_loader(
        DataLoader(Collected(), num_workers=1, collate_fn=list, multiprocessing_context="fork"),
        seed=0,
    )
    assert list(loader) == [[False]]
    assert Collected()[0] and gc.get_freeze_count() == 0
