"""Several ranks in mid-accumulation: each keeps its gradients itself, and a resume is exact."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from toy_training import assert_equal, rank_runner, run_ranks

from mmdet_maskr import checkpoint_files
from mmdet_maskr.engine.checkpoint_hook import DurableCheckpointHook
from mmdet_maskr.engine.durable_files import find_damage

NAME = "interrupted_iter_3.pth"
ACCUMULATE = dict(
    optim_wrapper=dict(
        optimizer=dict(type="SGD", lr=0.1, momentum=0.9), accumulative_counts=4
    ),
    epochs=4,
)  # fmt: skip


class Stop(Hook):
    """Rank 1 gets a signal after the third iteration of the four of a step, in the second epoch."""

    priority = "NORMAL"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (torch.distributed.get_rank(), runner.iter) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)


def train(tmp_path: Path, name: str, world_size: int, stop: bool = False, **options) -> None:
    def run(rank: int) -> None:
        runner = rank_runner(tmp_path / name, **ACCUMULATE, **options)
        if stop:
            runner.register_hook(Stop())
        runner.train()

    codes = run_ranks(tmp_path, world_size, run)
    assert codes == [143 if stop else 0] * world_size, (tmp_path / "rank_0.log").read_text()


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint_files.load(path)["state_dict"]


def test_resume_in_mid_accumulation(tmp_path: Path):
    train(tmp_path, "calm", 2)
    work_dir = tmp_path / "work"
    train(tmp_path, "work", 2, stop=True)
    files = [work_dir / f"{NAME}.rank_{rank}" for rank in (0, 1)]
    assert sorted(work_dir.glob(f"{NAME}.rank_?")) == files
    gradients = [checkpoint_files.load(file)["gradients"] for file in files]
    assert gradients[0].keys() == gradients[1].keys()
    # of each rank's own images
    assert not torch.equal(gradients[0]["head.weight"], gradients[1]["head.weight"])
    assert all(find_damage(file) is None for file in files)

    stray = work_dir / "epoch_9.pth.rank_0"
    stray.write_bytes(b"of a crash")
    train(tmp_path, "work", 2, resume=work_dir / NAME)
    assert_equal(weights(work_dir / "epoch_4.pth"), weights(tmp_path / "calm" / "epoch_4.pth"))
    for folder in (work_dir, tmp_path / "calm"):  # epoch_2.pth and 4 are at the end of a step
        kept = {path.name.partition(".rank_")[0] for path in folder.glob("*.rank_?")}
        assert kept == {"epoch_1.pth", "epoch_3.pth"}
    assert not stray.exists() and not list(work_dir.glob(f"{NAME}*"))


@pytest.mark.parametrize("trouble", ["missing", "of another checkpoint", "differ"])
def test_gradients_that_are_lost(tmp_path: Path, trouble: str):
    """The first rank says whose they are, and the run goes on."""
    train(tmp_path, "work", 2, stop=True)
    path = tmp_path / "work" / f"{NAME}.rank_1"
    if trouble == "missing":
        path.unlink()
    elif trouble == "differ":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        torch.save(dict(mark="0" * 16, gradients={}), path)
        path.with_name(f"{path.name}.sha256").unlink()
    train(tmp_path, "work", 2, resume=tmp_path / "work" / NAME)
    log = (tmp_path / "rank_0.log").read_text()
    lost = log.split("gradients that were being accumulated are lost: ")[1].splitlines()[0]
    assert trouble in lost and path.name in lost and f"{NAME}.rank_0" not in lost


@MODELS.register_module()
class LargeToy(BaseModel):
    """Three million numbers: 12 MB."""

    def __init__(self, data_preprocessor: None = None) -> None:
        super().__init__(data_preprocessor)
        self.layer = torch.nn.Linear(3, 1_000_000, bias=False)

    def forward(self, inputs: torch.Tensor, data_samples=None, mode: str = "tensor") -> dict:
        return dict(loss=self.layer(torch.stack(list(inputs))).square().mean())


def kilobytes(field: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs Linux with glibc")
def test_memory_does_not_grow_with_ranks(tmp_path: Path):
    """At a checkpoint in mid-accumulation, the first rank takes as much of four as of two.

    Gradients of two more would be 24 MB wherever they are put together.
    """
    write = DurableCheckpointHook._write

    def train_watched(rank: int) -> None:
        grown = []
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD: what is large is given back when it is freed

        def watched(*args) -> None:
            libc.malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before = kilobytes("VmRSS")
            write(*args)
            grown.append(kilobytes("VmHWM") - before)

        DurableCheckpointHook._write = watched
        world_size = torch.distributed.get_world_size()
        options = dict(ACCUMULATE, epochs=2, model=dict(type="LargeToy"))
        work_dir = tmp_path / f"of_{world_size}"
        rank_runner(work_dir, **options).train()
        if rank == 0:
            assert len(grown) == 2
            (tmp_path / f"grown_{world_size}").write_text(str(grown[0]))

    for world_size in (2, 4):
        codes = run_ranks(tmp_path, world_size, train_watched)
        assert codes == [0] * world_size, (tmp_path / "rank_0.log").read_text()
        assert len(list((tmp_path / f"of_{world_size}").glob("epoch_1.pth.rank_?"))) == world_size
    two, four = (int((tmp_path / f"grown_{n}").read_text()) for n in (2, 4))
    assert two > 12_000  # the file itself
    assert four - two < 8_000
