"""After any end of a write, the file is the older or the newer one, and nothing lies next to it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mmdet_maskr.atomic_files import give_name, partial_of, remove_partials, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_written_with_its_folder(tmp_path: Path):
    path = tmp_path / "a" / "b.json"
    write_whole(path, "größer")
    assert path.read_bytes() == "größer".encode()
    write_whole(path, b"\0new")
    assert path.read_bytes() == b"\0new" and names(path.parent) == ["b.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old" and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("durable", [True, False])
def test_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
):
    """The content is flushed before the rename, the folder after it; what need not is not."""
    path, steps = tmp_path / "a.json", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(path.exists()), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *names: (steps.append("rename"), replace(*names)))
    write_whole(path, "new", durable=durable)
    assert steps == ([False, "rename", True] if durable else ["rename"])


def test_writers_do_not_meet(tmp_path: Path):
    """Threads, and processes, that write one file at a time have names of their own for it."""
    path = tmp_path / "a.json"
    found = [partial_of(path)]
    thread = threading.Thread(target=lambda: found.append(partial_of(path)))
    thread.start()
    thread.join()
    assert len(set(found)) == 2 and str(os.getpid()) in found[0].name
    found[0].write_text("first")
    found[1].write_text("second")
    for partial in found:
        give_name(partial, path)
    assert path.read_text() == "second"


def test_left_overs_of_killed_writes(tmp_path: Path):
    partial_of(tmp_path / "a.pth").touch()
    kept = ["a.pth", "b.partial", "b.pth", partial_of(tmp_path / "a.json").name]
    for name in kept:
        (tmp_path / name).touch()
    remove_partials(tmp_path, "*.pth")
    assert names(tmp_path) == sorted(kept)
