"""Files are whole or not there; the newest whole checkpoint is found."""

from __future__ import annotations

import hashlib
import logging
import os
import resource
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch

from mmdet_maskr.engine import durable_files, resume
from mmdet_maskr.engine.durable_files import DurableBackend, find_damage, newest_checkpoint
from mmdet_maskr.errors import UserError

LOGGER = logging.getLogger("test_durable_files")


def write_checkpoint(folder: Path, name: str, iteration: int) -> Path:
    torch.save(dict(meta=dict(iter=iteration, epoch=1), x=torch.rand(99)), folder / "x.tmp")
    DurableBackend().put((folder / "x.tmp").read_bytes(), folder / name)
    (folder / "x.tmp").unlink()
    return folder / name


def test_put_and_remove(tmp_path: Path):
    path = tmp_path / "new" / "epoch_1.pth"
    for content in (b"first", b"second"):
        DurableBackend().put(content, path)
        assert path.read_bytes() == content
        assert find_damage(path) is None
    assert sorted(p.name for p in path.parent.iterdir()) == ["epoch_1.pth", "epoch_1.pth.sha256"]
    # the format of coreutils
    check = ["sha256sum", "--check", "epoch_1.pth.sha256"]
    assert subprocess.run(check, cwd=path.parent, capture_output=True).returncode == 0
    assert path.with_name("epoch_1.pth.sha256").read_text().split()[0] == (
        hashlib.sha256(b"second").hexdigest()
    )
    DurableBackend().remove(str(path))
    assert not list(path.parent.iterdir())


def test_disk_full(tmp_path: Path):
    """A quota of 4 KiB a file: the older file stays, nothing is left of the newer one."""
    path = write_checkpoint(tmp_path, "epoch_1.pth", 1)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            DurableBackend().put(b"x" * 8192, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert find_damage(path) is None  # by its CRCs: the checksum goes before a file is replaced
    assert [p.name for p in tmp_path.iterdir()] == ["epoch_1.pth"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_crash_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    """At any last step, the older or the newer file is whole."""
    path = write_checkpoint(tmp_path, "epoch_1.pth", 1)
    calls = 0
    real = getattr(os, step)
    for crash_at in range(1, 6):

        def crashing(*args, crash_at=crash_at):
            nonlocal calls
            calls += 1
            if calls == crash_at:
                raise KeyboardInterrupt
            return real(*args)

        calls = 0
        monkeypatch.setattr(os, step, crashing)
        try:
            write_checkpoint(tmp_path, "epoch_1.pth", 2)
        except KeyboardInterrupt:
            pass
        monkeypatch.setattr(os, step, real)
        assert find_damage(path) is None
        assert newest_checkpoint(tmp_path, LOGGER) == str(path)
    assert calls == (4 if step == "fsync" else 2)  # the last round was not disturbed


def test_damage(tmp_path: Path):
    path = write_checkpoint(tmp_path, "epoch_1.pth", 1)
    whole = path.read_bytes()
    checksum = path.with_name("epoch_1.pth.sha256")
    for position in (0, len(whole) // 2, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        assert "differ from epoch_1.pth.sha256" in find_damage(path)
    checksum.unlink()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert find_damage(path) is not None
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"abcdefgh" * 9)
    content = path.read_bytes().replace(b"abcdefgh", b"abcdefgX", 1)
    path.write_bytes(content)
    assert find_damage(path) == "its part data.pkl is damaged"
    path.unlink()
    assert find_damage(path) == "it is missing"


def test_damage_of_the_directory(tmp_path: Path):
    """Without a checksum: no bit of the archive's directory ends raw or is not noticed in time."""
    path = write_checkpoint(tmp_path, "epoch_2.pth", 20)
    path.with_name("epoch_2.pth.sha256").unlink()
    older = write_checkpoint(tmp_path, "epoch_1.pth", 10)
    whole = path.read_bytes()
    found = set()
    for position in range(whole.index(b"PK\x01\x02"), len(whole), 3):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        (tmp_path / "last_checkpoint").write_text(str(path))
        used = Path(newest_checkpoint(tmp_path, LOGGER))
        found.add(used)
        assert torch.load(used, weights_only=True)["x"].shape == (99,)
    assert found == {path, older}


def test_newest_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert newest_checkpoint(tmp_path, LOGGER) is None
    first = write_checkpoint(tmp_path, "epoch_9.pth", 90)
    second = write_checkpoint(tmp_path, "epoch_10.pth", 100)
    write_checkpoint(tmp_path, "best_coco_bbox_mAP_epoch_11.pth", 110)  # has no optimizer
    interrupted = write_checkpoint(tmp_path, "interrupted_iter_105.pth", 105)
    (tmp_path / "last_checkpoint").write_text(str(second))
    assert newest_checkpoint(tmp_path, LOGGER) == str(second)
    second.write_bytes(b"PK")
    assert newest_checkpoint(tmp_path, LOGGER) == str(interrupted)
    assert "epoch_10.pth is not used: its bytes differ from epoch_10.pth.sha256" in caplog.text
    interrupted.unlink()
    assert newest_checkpoint(tmp_path, LOGGER) == str(first)
    (tmp_path / "last_checkpoint").unlink()
    assert newest_checkpoint(tmp_path, LOGGER) == str(first)
    assert newest_checkpoint(tmp_path, LOGGER, lambda content: content["meta"]["iter"] > 90) is None
    first.write_bytes(b"")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged \(.*epoch_9\.pth"):
        newest_checkpoint(tmp_path, LOGGER)


def test_pointer_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Empty, relative, or of the work dir that this one is a copy of: only own files are taken."""
    original, own, here = tmp_path / "original", tmp_path / "copy", tmp_path / "here"
    for folder in (original, own, here):
        folder.mkdir()
    for folder in (original, here):
        for name in ("epoch_1.pth", "epoch_3.pth"):
            write_checkpoint(folder, name, 50)
    monkeypatch.chdir(here)
    pointer = own / "last_checkpoint"
    pointer.write_text("")
    assert newest_checkpoint(own, LOGGER) is None and not durable_files.has_checkpoint(own)
    path = write_checkpoint(own, "epoch_1.pth", 10)
    for named in ("", "epoch_1.pth", "epoch_3.pth", f"{original}/epoch_1.pth", "work/epoch_1.pth",
                  f"{original}/epoch_3.pth"):  # fmt: skip
        pointer.write_text(named)
        assert newest_checkpoint(own, LOGGER) == str(path), named
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    elsewhere = write_checkpoint(out_dir, "epoch_2.pth", 20)
    pointer.write_text("out/epoch_2.pth")
    assert newest_checkpoint(own, LOGGER, out_dir=out_dir) == str(elsewhere)
    pointer.write_text("s3://bucket/epoch_2.pth")
    assert newest_checkpoint(own, LOGGER) == "s3://bucket/epoch_2.pth"
    path.unlink()
    pointer.write_text(f"{original}/epoch_3.pth")
    with pytest.raises(UserError, match="epoch_3"):
        newest_checkpoint(own, LOGGER)


@pytest.mark.parametrize("name", ["x" * 100_000, "a\0b", "\udcff\udcfe", "  \n"])
def test_pointer_that_names_nothing(tmp_path: Path, name: str):
    (tmp_path / "last_checkpoint").write_bytes(os.fsencode(name))
    if name.strip():
        with pytest.raises(UserError, match=r"names .{1,200}, which is not in") as caught:
            newest_checkpoint(tmp_path, LOGGER)
        assert len(str(caught.value)) < 1000
    path = write_checkpoint(tmp_path, "epoch_1.pth", 10)
    assert newest_checkpoint(tmp_path, LOGGER) == str(path)


def test_what_could_run_code_is_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """torch's own message is a piece of advice to run it."""

    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "witness"),)

    torch.save(dict(meta=Runs()), tmp_path / "epoch_2.pth")
    path = write_checkpoint(tmp_path, "epoch_1.pth", 10)
    assert newest_checkpoint(tmp_path, LOGGER) == str(path)
    assert "could run code (" in caplog.text
    assert "weights_only" not in caplog.text and not (tmp_path / "witness").exists()


def test_restart_knows_its_launch_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A clock that jumps, or a folder with times of another machine, changes nothing."""
    monkeypatch.setenv("MMDET_MASKR_LAUNCH", "second")
    for number, launches in enumerate((["first"], ["second", "node 2"], [None]), start=1):
        ranks = [dict(launch=launch) for launch in launches]
        content = dict(meta=dict(iter=number, epoch=1), exact_resume=dict(ranks=ranks))
        torch.save(content, tmp_path / f"iter_{number}.pth")
        os.utime(tmp_path / f"iter_{number}.pth", (0, 10**9))
    found = newest_checkpoint(
        tmp_path, LOGGER, lambda content: resume.launch() in resume.launches_of(content)
    )
    assert found == str(tmp_path / "iter_2.pth")


def test_partial_files_are_removed(tmp_path: Path):
    left_over = (
        "epoch_1.pth.partial",
        "epoch_1.pth.sha256.7-8.partial",
        "last_checkpoint.7-8.partial",
    )
    for name in (*left_over, "mine.partial"):
        (tmp_path / name).touch()
    durable_files.remove_partial_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.partial"]
