"""An index is kept whole or not at all, found again, and shared by processes."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from index_cases import content, write

from mmdet_maskr.coco.index import (
    annotation_index,
    cache,
    open_index,
    storage,
)


def test_the_second_start_reads_no_annotations(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.json", content())
    os.utime(file, (1, 1))
    monkeypatch.setattr(cache, "_SETTLED", -1e9)
    open_index(file)
    monkeypatch.setattr(annotation_index, "build", lambda *a: pytest.fail("it is made again"))
    monkeypatch.setattr(cache, "digest_of", lambda *a: pytest.fail("it is hashed again"))
    index = open_index(file)
    assert index.content() == content()
    with pytest.raises(ValueError, match="read-only"):
        index.arrays["bbox"][0] = 0


@pytest.mark.parametrize("settled", [-1e9, 2.0])
def test_a_changed_file_is_read_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, settled: float
) -> None:
    monkeypatch.setattr(cache, "_SETTLED", settled)
    file = write(tmp_path / "a.json", content())
    open_index(file)
    before = file.stat()
    changed = content()
    changed["images"][1]["file_name"] = "B.jpg"  # of the same length
    time.sleep(0.02)
    write(file, changed)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert open_index(file).image(1)["file_name"] == "B.jpg"


def test_a_copy_shares_the_index(tmp_path: Path, folder: Path) -> None:
    first = open_index(write(tmp_path / "a.json", content()))
    second = open_index(write(tmp_path / "b.json", content()))
    assert first.place == second.place and second.path.name == "b.json"


def damage(cut: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(cut(file.read_bytes()))


@pytest.mark.parametrize(
    "harm",
    [
        damage(lambda b: b""),
        damage(lambda b: b[:10]),
        damage(lambda b: b[: len(b) // 2]),
        damage(lambda b: b[:-1]),
        damage(lambda b: b + b"\0"),
        damage(lambda b: b[:-100] + bytes([b[-100] ^ 1]) + b[-99:]),
        damage(lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:]),
        damage(lambda b: b"maskriy\n" + b[8:]),
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: file.unlink(),
    ],
)
def test_a_damaged_index_is_not_used(
    tmp_path: Path, folder: Path, harm: Callable[[Path], None]
) -> None:
    file = write(tmp_path / "a.json", content())
    place = open_index(file).place
    assert place is not None
    harm(place)
    assert open_index(file).content() == content()
    assert open_index(file).content() == content()


def test_another_version_is_not_used(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.json", content())
    first = open_index(file).place
    monkeypatch.setattr(storage, "VERSION", storage.VERSION + 1)
    second = open_index(file)
    assert second.content() == content()  # the other version's file is made anew
    monkeypatch.setattr(cache, "VERSION", storage.VERSION)
    assert open_index(file).place != first


@pytest.mark.parametrize("value", ["off", "OFF", "0"])
def test_off_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(cache.VARIABLE, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    file = write(tmp_path / "a.json", content())
    index = open_index(file)
    assert index.place is None and index.content() == content()
    assert sorted(os.listdir(tmp_path)) == ["a.json"]


@pytest.mark.parametrize("kind", ["a file", "under a file"])
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(blocked if kind == "a file" else blocked / "x"))
    file = write(tmp_path / "a.json", content())
    index = open_index(file)
    assert index.place is None and index.content() == content()


def test_a_read_only_folder(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(folder, os.W_OK):
        pytest.skip("root writes anywhere")
    assert open_index(write(tmp_path / "a.json", content())).content() == content()


def test_a_full_disk(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, built: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "write", fail)
    index = open_index(write(tmp_path / "a.json", content()))
    assert index.place is None and index.content() == content()
    assert not list(folder.glob("*.partial")) and not list(folder.glob("*.index"))


PROGRAM = """
import os, sys, signal
from pathlib import Path
from mmdet_maskr.coco.index import open_index, storage
if sys.argv[2] == "kill":
    real = os.fsync
    os.fsync = lambda d: os.kill(os.getpid(), signal.SIGKILL)
print(sorted(open_index(sys.argv[1]).arrays["area"].tolist()))
"""


def start(file: Path, mode: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(file), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_while_writing_and_several_at_once(tmp_path: Path, folder: Path) -> None:
    file = write(tmp_path / "a.json", content())
    killed = start(file, "kill")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = folder.glob("*.partial")  # whole, but never flushed
    assert not list(folder.glob("*.index"))
    both = [start(file, "run") for _ in range(2)]
    for process in both:
        found, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert json.loads(found) == [float(i) for i in range(1, 11)]
    assert len(list(folder.glob("*.index"))) == 1
    os.utime(partial, (1, 1))
    cache.tidy(folder)
    assert not partial.exists()


def test_pickling_sends_the_name_alone(tmp_path: Path, folder: Path) -> None:
    file = write(tmp_path / "a.json", content())
    index = open_index(file)
    sent = pickle.dumps(index)
    assert len(sent) < 1000
    assert pickle.loads(sent).content() == content()
    assert copy.deepcopy(index) is index
    assert index.place is not None
    index.place.unlink()
    assert index.content() == content()  # what is mapped stays
    assert pickle.loads(sent).content() == content()


def test_pickling_of_what_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    index = open_index(write(tmp_path / "a.json", content()))
    assert pickle.loads(pickle.dumps(index)).content() == content()
