"""Which signals stop what: a job's processes get the same one several times, and lose nothing."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import child_training as child
import pytest
from forked import finish, fork
from mmengine.hooks import Hook
from mmengine.runner import Runner
from test_elastic import launch, output_of
from torch.utils.data import DataLoader

from mmdet_maskr.engine import signals
from mmdet_maskr.engine.exact_loading import exact_loader
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.engine.signals import Stopped, StopRequest, interruptible

SHORT = dict(
    train_cfg__max_epochs=2, val_cfg=None, val_dataloader=None, val_evaluator=None,
    custom_hooks=[dict(type="WriteLosses")], default_hooks__checkpoint__save_best=None,
)  # fmt: skip


@pytest.fixture(autouse=True)
def silence(monkeypatch: pytest.MonkeyPatch):
    """No signal of a test before is near."""
    monkeypatch.setattr(signals, "_last", -float("inf"))


def act_at(iteration: int, act: Callable[[], object]) -> Callable[[Runner], None]:
    class Act(Hook):
        priority = "NORMAL"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == iteration:
                act()

    return lambda runner: runner.register_hook(Act())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("persistent", [False, True])
def test_whole_group_is_signalled(
    tmp_path: Path, shapes_root: Path, number: signal.Signals, persistent: bool
):
    """Twice, data workers included; what is saved is gone on from."""
    work_dir = tmp_path / "work"
    work_dir.mkdir()

    def signal_group() -> None:
        for _ in range(2):
            os.killpg(0, number)

    options = dict(
        SHORT, train_dataloader=dict(num_workers=2, persistent_workers=persistent)
    )  # fmt: skip
    pid = child.start(shapes_root, work_dir, False, act_at(1, signal_group), **options)
    log = Path(f"{work_dir}.log")
    assert child.finish(pid) == 128 + number, log.read_text()[-2000:]
    assert (work_dir / "last_checkpoint").read_text().endswith("interrupted_iter_2.pth")
    assert "Traceback" not in log.read_text()
    assert child.finish(child.start(shapes_root, work_dir, True, **options)) == 0
    assert sorted(child.losses(work_dir)) == list(range(16))


def test_echo_and_second_signal(monkeypatch: pytest.MonkeyPatch):
    """Signals within some seconds are one; a later one ends the process."""
    now = [1000.0]
    ends = []
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(signals.os, "kill", lambda pid, number: ends.append((pid, number)))
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    request = StopRequest(logging.getLogger("test"))
    try:
        assert not request.is_agreed()
        for seconds in (0, 0.1, 2, signals.ECHO_SECONDS - 0.1):
            now[0] = 1000 + seconds
            signal.raise_signal(signal.SIGTERM)
            assert request.is_agreed() and not ends
        assert request.describe() == ("SIGTERM", 143)
        now[0] = 1000 + signals.ECHO_SECONDS
        signal.raise_signal(signal.SIGINT)
        assert ends == [(os.getpid(), signal.SIGINT)]
    finally:
        request.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def test_pools_end_during_a_training(tmp_path: Path):
    """A pool ends its processes by SIGTERM; that of anyone else does not end them."""

    def use_pools() -> None:
        request = StopRequest(logging.getLogger("test"))
        for _ in range(5):
            with multiprocessing.get_context("fork").Pool(4) as pool:
                assert pool.starmap(max, [(1, 2), (3, 4)] * 4) == [2, 4] * 4
        with multiprocessing.get_context("fork").Pool(1) as pool:
            worker = pool.apply(os.getpid)
            subprocess.run(["kill", "-TERM", str(worker)], check=True)
            time.sleep(0.3)
            assert pool.apply(os.getpid) == worker
        assert not request.is_agreed()
        request.close()
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply(signal.getsignal, [signal.SIGTERM]) is signal.SIG_DFL
            assert signal.SIGTERM not in pool.apply(signal.pthread_sigmask, [signal.SIG_BLOCK, []])

    pid = fork(use_pools, tmp_path / "log")
    assert finish(pid, 60) == 0, (tmp_path / "log").read_text()


def test_child_is_ended_as_soon_as_it_is_forked(tmp_path: Path):
    """The SIGTERM of a parent counts from the fork on; that of before stays with the parent."""

    def fork_and_end() -> None:
        pid = fork(lambda: time.sleep(60), tmp_path / "grandchild")
        os.kill(pid, signal.SIGTERM)
        assert finish(pid, 20) == 0

    def fork_often() -> None:
        request = StopRequest(logging.getLogger("test"))
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        for number in range(30):
            pid = fork(lambda: time.sleep(60), tmp_path / f"{number}")
            os.kill(pid, signal.SIGTERM)
            assert finish(pid, 20) == 0
        pid = fork(fork_and_end, tmp_path / "child")
        assert finish(pid, 30) == 0, (tmp_path / "child").read_text()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked
        assert not request.is_agreed()

    assert finish(fork(fork_often, tmp_path / "log"), 120) == 0, (tmp_path / "log").read_text()


def test_tools_are_interrupted_once():
    """While one waits for its child to save, echoes do not break that off."""
    caught = []
    with contextlib.suppress(Stopped), interruptible():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            caught.append(error.number)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            caught.append("waited")
    assert caught == [signal.SIGTERM, "waited"]
    with pytest.raises(SystemExit) as leaving:
        run_tool(lambda: (_ for _ in ()).throw(Stopped(signal.SIGTERM)))
    assert leaving.value.code == 143


class Stands:
    """A dataset whose second image never comes."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        while index:
            time.sleep(1)
        return os.getpid()


def test_workers_listen_to_their_process_alone(tmp_path: Path):
    """A worker that stands still ignores strangers, and ends when its process is done with it."""

    def use() -> None:
        loader = exact_loader(DataLoader(Stands(), batch_size=1, num_workers=1), seed=0)
        batches = iter(loader)
        worker = int(next(batches))
        subprocess.run(["kill", "-TERM", str(worker)], check=True)
        subprocess.run(["kill", "-INT", str(worker)], check=True)
        time.sleep(0.3)
        assert "Z" not in Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        os.kill(worker, signal.SIGTERM)  # as multiprocessing does at the end
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
        os._exit(7)

    pid = fork(use, tmp_path / "log")
    assert finish(pid, 30) == 7, (tmp_path / "log").read_text()


STARTER = """
import sys
from mmdet_maskr.engine.child_processes import start_tool
from mmdet_maskr.engine.launch import run_tool

CHILD = '''
import signal, sys, time
def save(*_):
    time.sleep(1)
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
'''

def main():
    process = start_tool([sys.executable, "-c", CHILD])
    try:
        process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise

run_tool(main)
"""


def test_starter_waits_for_its_child(repo: Path):
    """As the quickstart does: a container ends with its first process, and what it runs."""
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repo) as starter:
        assert starter.stdout.readline() == "ready\n"
        for _ in range(3):  # `timeout` signals twice
            starter.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert starter.wait(30) == 143
        assert starter.stdout.read() == "saved\n"


def test_distributed_job_is_signalled(tmp_path: Path, repo: Path, shapes_root: Path):
    """torchrun three times, its processes and their data workers directly and through it."""
    work_dir = tmp_path / "work"
    process = launch(repo, shapes_root, work_dir, "dict(type='SignalJob', iteration=2)")
    output = output_of(process)
    assert process.returncode != 0
    assert "saved interrupted_iter_3.pth after iteration 3" in output, output[-3000:]
    assert "restart" not in output
    assert (work_dir / "last_checkpoint").read_text().endswith("interrupted_iter_3.pth")
