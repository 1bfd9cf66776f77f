"""Two trainings never write into one work dir."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import time
from pathlib import Path

import child_training as child
import pytest
from forked import finish, fork, kill

from mmdet_maskr.engine import work_dir_lock
from mmdet_maskr.engine.work_dir_lock import LOCK, WorkDirLock
from mmdet_maskr.errors import UserError

LOGGER = logging.getLogger("test_work_dir_lock")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work_dir_lock, "PATIENCE_SECONDS", 0.3)


def hold_in_child(folder: Path, fork_another: bool = False) -> int:
    """A child that holds the lock until it is killed; it may leave a child of its own behind."""

    def hold() -> None:
        WorkDirLock(folder, LOGGER)
        if fork_another:
            fork(lambda: time.sleep(60), folder / "log", session=False)
        (folder / "held").touch()
        time.sleep(60)

    pid = fork(hold, folder / "log")
    end = time.monotonic() + 20
    while not (folder / "held").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    return pid


def test_one_at_a_time(tmp_path: Path):
    pid = hold_in_child(tmp_path)
    try:
        with pytest.raises(UserError, match=f"process {pid} on {socket.gethostname()}"):
            WorkDirLock(tmp_path, LOGGER)
    finally:
        kill(pid)
    lock = WorkDirLock(tmp_path, LOGGER)  # the kernel has released it
    with pytest.raises(UserError):
        WorkDirLock(tmp_path / "." / ".." / tmp_path.name, LOGGER)
    lock.close()
    WorkDirLock(tmp_path, LOGGER).close()
    assert (tmp_path / LOCK).read_text() == ""


def test_killed_while_its_workers_live_on(tmp_path: Path):
    """A data worker that has not noticed yet does not hold the lock."""
    pid = hold_in_child(tmp_path, fork_another=True)
    os.kill(pid, signal.SIGKILL)
    assert finish(pid) == -signal.SIGKILL
    try:
        WorkDirLock(tmp_path, LOGGER).close()
    finally:
        os.killpg(pid, signal.SIGKILL)


def test_says_what_it_cannot_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Another machine's training that has not ended properly; a file system without locks."""
    (tmp_path / LOCK).write_text(json.dumps(dict(host="elsewhere", pid=7)))
    WorkDirLock(tmp_path, LOGGER).close()
    assert "process 7 on elsewhere" in caplog.text
    caplog.clear()

    def no_locks(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(work_dir_lock, "lock_file", no_locks)
    WorkDirLock(tmp_path, LOGGER).close()
    assert "No locks available" in caplog.text


def test_second_training_is_refused(tmp_path: Path, shapes_root: Path):
    """With exit code 2, and the first one ends as if it had been alone."""
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    options = dict(
        train_cfg__max_epochs=1, val_cfg=None, val_dataloader=None, val_evaluator=None,
        default_hooks__checkpoint=dict(save_best=None, by_epoch=False, interval=1),
        custom_hooks=[dict(type="WriteLosses")],
    )  # fmt: skip
    holder = hold_in_child(work_dir)
    try:
        assert finish(child.start(shapes_root, work_dir, True, **options)) == 2
    finally:
        kill(holder)
    assert f"process {holder}" in Path(f"{work_dir}.log").read_text()
    assert not list(work_dir.glob("*.pth"))
    assert finish(child.start(shapes_root, work_dir, True, **options)) == 0
