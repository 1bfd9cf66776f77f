"""Data workers where a config does not say: by cores and ranks, with one thread each."""

from __future__ import annotations

import cv2
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from mmdet_maskr.engine import config_checks, loader_defaults
from mmdet_maskr.engine.durable_runner import DurableRunner
from mmdet_maskr.engine.loader_defaults import with_defaults


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """A machine with so many cores and a GPU or not, on which nothing was launched."""
    for name in (*loader_defaults._RANKS, "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)

    def set_(cores: int, gpu: bool = True, **variables: int) -> None:
        monkeypatch.setattr(loader_defaults, "usable_cpus", lambda: cores)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return set_


@pytest.mark.parametrize(
    ("cores", "gpu", "variables", "workers", "ahead"),
    [
        (1, True, {}, 1, 8),
        (4, True, {}, 3, 3),
        (16, True, {}, 8, 2),
        (128, True, dict(LOCAL_WORLD_SIZE=8), 8, 2),
        (32, True, dict(LOCAL_WORLD_SIZE=8), 3, 3),
        (4, True, dict(LOCAL_WORLD_SIZE=8), 1, 8),
        (64, True, dict(OMPI_COMM_WORLD_LOCAL_SIZE=4), 8, 2),
        (64, True, dict(SLURM_CPUS_PER_TASK=5, LOCAL_WORLD_SIZE=2), 4, 2),
        (5, True, dict(SLURM_CPUS_PER_TASK=5), 4, 2),
        (2, False, {}, 1, 2),
        (64, False, {}, 2, 2),
    ],
)
def test_by_cores_and_ranks(machine, cores, gpu, variables, workers, ahead):
    machine(cores, gpu, **variables)
    filled = with_defaults(dict(batch_size=3))
    pinned = dict(pin_memory=True) if gpu else {}
    assert filled == dict(batch_size=3, num_workers=workers, persistent_workers=True,
                          prefetch_factor=ahead, **pinned)  # fmt: skip


def test_what_a_config_says_stays(machine):
    machine(64)
    own = dict(num_workers=2, persistent_workers=False, prefetch_factor=5, pin_memory=False)
    assert with_defaults(own) == own
    assert with_defaults(dict(num_workers=0)) == dict(num_workers=0, pin_memory=True)
    config = ConfigDict(num_workers=0)
    with_defaults(config)
    assert config == dict(num_workers=0)


def test_the_configs_leave_it_to_the_machine(repo, machine):
    config = Config.fromfile(repo / "configs/maskr_r50_fpn_1x.py")
    config_checks.check_config(config, "the config")
    machine(8)
    for loader in (config.train_dataloader, config.val_dataloader):
        assert with_defaults(loader)["num_workers"] == 7


class Threads(Dataset):
    """The threads that OpenCV and torch have where a sample is loaded."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[int, int]:
        return cv2.getNumThreads(), torch.get_num_threads()


def test_one_thread_in_a_worker(machine, monkeypatch: pytest.MonkeyPatch):
    machine(3, gpu=False)
    monkeypatch.setitem(DATASETS.module_dict, "Threads", Threads)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        config = dict(dataset=dict(type="Threads"), batch_size=1,
                      sampler=dict(type="DefaultSampler", shuffle=False))  # fmt: skip
        loader = DurableRunner.build_dataloader(config, seed=0)
        assert loader.num_workers == 2 and loader.persistent_workers
        for opencv, torchs in loader:
            assert int(opencv[0]) <= 1 and int(torchs[0]) == 1
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
