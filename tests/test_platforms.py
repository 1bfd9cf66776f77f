"""Nothing on the way from a dataset to detections needs Linux."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from mmdet_maskr import platforms


@pytest.mark.slow
def test_train_resume_test_detect_and_export_elsewhere(
    repo: Path, shapes_root: Path, tmp_path: Path
):
    """With spawned data workers, and without what Windows lacks: see other_platform.py."""
    script = repo / "tests" / "other_platform.py"
    env = {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(repo), str(shapes_root), str(tmp_path / "work")]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    assert "resumed epoch: 1" in done.stdout and "coco/segm_mAP" in done.stdout
    assert (tmp_path / "work" / "exported" / "model.pt").is_file()


@pytest.fixture
def file(tmp_path: Path):
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


HOLD = """
import os, sys
from mmdet_maskr import platforms
print(platforms.lock_file(os.open(sys.argv[1], os.O_RDWR)), flush=True)
"""


@pytest.mark.skipif(platforms.fcntl is None, reason="needs POSIX's locks")
def test_lock_of_another_process(file: int, tmp_path: Path, repo: Path):
    assert platforms.lock_file(file)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    env = {**os.environ, "PYTHONPATH": str(repo)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "False", done.stderr


def windows(code: int | None) -> types.SimpleNamespace:
    """A stand-in for msvcrt whose lock fails with an error code, or not."""

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (7, 1)
        if code is not None:
            raise OSError(code, os.strerror(code))

    return types.SimpleNamespace(locking=locking, LK_NBLCK=7)


@pytest.mark.parametrize(("code", "expected"), [(None, True), (errno.EACCES, False)])
def test_lock_on_windows(
    monkeypatch: pytest.MonkeyPatch, file: int, code: int | None, expected: bool
):
    monkeypatch.setattr(platforms, "fcntl", None)
    monkeypatch.setattr(platforms, "msvcrt", windows(code))
    assert platforms.lock_file(file) is expected


def test_no_locks(monkeypatch: pytest.MonkeyPatch, file: int):
    monkeypatch.setattr(platforms, "fcntl", None)
    monkeypatch.setattr(platforms, "msvcrt", None)
    with pytest.raises(OSError) as info:
        platforms.lock_file(file)
    assert info.value.errno == errno.ENOTSUP


def test_what_may_be_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert platforms.usable_cpus() == os.cpu_count()
    monkeypatch.setattr(platforms, "resource", None)
    with pytest.raises(OSError):
        platforms.peak_memory_bytes()
    monkeypatch.delattr(platforms.signal, "pthread_sigmask", raising=False)
    with platforms.blocked_signals([2]):
        pass
    monkeypatch.setattr(platforms.os, "name", "nt")
    assert platforms.own_group().keys() == {"creationflags"}
