"""Pickles that ask for memory, time or addresses get none; those of data come back as they were."""

from __future__ import annotations

import io
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_maskr import checkpoint_files
from mmdet_maskr.checkpoint_files import MOST, check_archive
from mmdet_maskr.errors import UnsafeCheckpointError, UserError
from mmdet_maskr.safe_pickle import load_pickle

GLOBAL = b"c%s\n%s\n"
DTYPE = GLOBAL % (b"numpy", b"dtype")
RECONSTRUCT = GLOBAL % (b"numpy.core.multiarray", b"_reconstruct")
NDARRAY = GLOBAL % (b"numpy", b"ndarray")


class Payload:
    """Pickles as a call, and a state."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.call = (function, args, state) if state is not None else (function, args)

    def __reduce__(self) -> Any:
        return self.call


def load(content: bytes) -> Any:
    return load_pickle(io.BytesIO(content))


# A memo with 2^28 places, bytes that are not there, arrays without their content.
GREEDY = {
    "memo": b"\x80\x02}r\x00\x00\x00\x10.",
    "memo in text": b"}p4000000000\n.",
    "bytes": b"c__builtin__\nbytes\n(I4400000000\ntR.",
    "bytearray": b"c__builtin__\nbytearray\n(I4400000000\ntR.",
    "bytes that are announced": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "bytearray that is announced": b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b".",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 33) + b"N.",
    "array": b"\x80\x02" + NDARRAY + b"(J\xff\xff\xff\x7ftR.",
    "reconstructed": b"\x80\x02" + RECONSTRUCT + b"(" + NDARRAY + b"(J\xff\xff\xff\x7ft" + b"X\x02"
    b"\x00\x00\x00f8tR.",
    "text type": b"\x80\x02" + DTYPE + b"(X\x0a\x00\x00\x00U999999999tR.",
    "number": b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b".",
}  # fmt: skip


@pytest.mark.parametrize("content", GREEDY.values(), ids=GREEDY)
def test_memory_is_that_of_the_file(content: bytes):
    tracemalloc.start()
    try:
        try:
            load(content)
        except UserError:
            pass
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


FLAGS = 63  # of a type whose items are addresses of objects


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("f8", (3, "<", None, None, None, -1, -1, FLAGS)),
        ("i8", (4, "|", None, None, None, -1, -1, FLAGS, {})),
        ("f8", (3, "<", ("f8", (1 << 30,)), None, None, -1, -1, 0)),
        ("f8", (3, "<", None, ("a",), {"a": 1}, 1 << 30, 1, 0)),
        ("f8", (3, "|", None, None, None, 1 << 30, 1 << 30, 0)),
        ("O8", (3, "|", None, None, None, -1, -1, FLAGS)),
        ("V8", (3, "|", None, ("a",), {"a": ("O", 0)}, 8, 1, 27)),
    ],
)
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_addresses_in_a_file_are_not_followed(tmp_path: Path, code: str, state: tuple, how: str):
    """numpy's own dtype believes them, and the interpreter ends."""
    kind = Payload(np.dtype, code, False, True, state=state)
    reconstruct = np.array([1]).__reduce__()[0]
    content = struct.pack("<2Q", 0x4141, 0x4242)
    array = Payload(reconstruct, np.ndarray, (0,), b"b", state=(1, (2,), kind, False, content))
    path = tmp_path / "file.pth"
    try:
        if how == "pickle":
            found = load(pickle.dumps(array, protocol=2))
        else:
            torch.save(dict(a=array), path)
            found = CheckpointLoader.load_checkpoint(str(path), map_location="cpu")["a"]
    except UserError:
        return
    assert found.dtype in (np.dtype("f8"), np.dtype("i8")) and found.tobytes() == content


@pytest.mark.parametrize(
    ("shape", "content"),
    [((3,), bytes(16)), ((1 << 62, 4), b""), ((-1,), bytes(8)), ((2, 1), bytes(8)), (("a",), b"")],
)
def test_an_array_has_the_bytes_of_its_shape(shape: tuple, content: bytes):
    reconstruct = np.array([1]).__reduce__()[0]
    array = Payload(
        reconstruct, np.ndarray, (0,), b"b", state=(1, shape, np.dtype("f8"), False, content)
    )
    with pytest.raises(UserError):
        load(pickle.dumps(array, protocol=2))


def test_keys_that_take_forever():
    """A tuple of two of a tuple of two ... is small, and has a hash that takes years."""
    key: tuple = ("a",)
    for _ in range(60):
        key = (key, key)
    pickled = pickle.dumps(key, protocol=2)[2:-1]
    assert load(b"\x80\x02" + pickled + b".") is not None
    for bomb in (b"\x80\x02}" + pickled + b"K\x01s.", b"\x80\x04\x8f(" + pickled + b"\x90.",
                 b"\x80\x04(" + pickled + b"\x91.", b"\x80\x04(" + pickled + b"Nd."):  # fmt: skip
        started = time.monotonic()
        with pytest.raises(UserError):
            load(bomb)
        assert time.monotonic() - started < 2


def test_plain_data_comes_back():
    values = [
        np.arange(6, dtype=">i2").reshape(2, 3), np.asfortranarray(np.random.rand(2, 3)),
        np.array(["ab", "c"]), np.array([b"ab"]), np.zeros((0, 4)), np.array(True), np.float32(2),
        np.float16(1.5), np.complex64(1j), np.arange(3)[::2],
    ]  # fmt: skip
    for protocol in range(6):
        for value in values:
            content = pickle.dumps(value, protocol)
            found, expected = load(content), pickle.loads(content)
            assert type(found) is type(value) and found.dtype == expected.dtype
            assert np.array_equal(found, value)
        more = dict(a=[(1, 2.5, None), {1, 2}, frozenset("ab"), b"\x00\xff", bytearray(b"x"), 1j])
        assert load(pickle.dumps(more, protocol)) == more
        odd = OrderedDict(a=defaultdict(set, b={1}), t=slice(1, 2))
        assert load(pickle.dumps(odd, protocol)) == odd
        assert torch.equal(load(pickle.dumps(torch.ones(2, 3).T, protocol)), torch.ones(3, 2))


@pytest.mark.parametrize("size", [(10**9,), (5,), (-1,), (2, 10**9)])
def test_a_tensor_is_in_the_file(size: tuple):
    storage = torch.zeros(4).storage()
    stride = (0,) if size == (10**9,) else (1,) * len(size)
    rebuilt = Payload(
        torch._utils._rebuild_tensor_v2, storage, 0, size, stride, False, OrderedDict()
    )
    with pytest.raises(UserError):
        load(pickle.dumps(rebuilt, protocol=2))


def test_damage_ends_in_one_kind_of_error():
    """Any bytes of a pickle may be others."""
    rng = random.Random(0)
    values = dict(
        a=np.arange(5.0), t=torch.ones(3), s=["x" * 9, {1, 2}], o=OrderedDict(k=(1, b"y"))
    )
    for protocol in (0, 2, 4, 5):
        good = pickle.dumps(values, protocol)
        for _ in range(300):
            bad = bytearray(good)
            for _ in range(rng.choice((1, 1, 2, 8))):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            try:
                load(bytes(bad[: rng.choice((len(bad), rng.randrange(len(bad))))]))
            except (UserError, UnsafeCheckpointError):
                pass


def test_message_hub_is_numpys_own(tmp_path: Path):
    """What mmengine stores in checkpoints, loaded and stored again."""
    history = HistoryBuffer()
    history.update(1.5)
    history.update(2.5)
    torch.save(dict(h=history, n=np.float64(3), a=np.arange(3)), tmp_path / "a.pth")
    found = checkpoint_files.load(tmp_path / "a.pth")
    assert type(found["h"].data[0]) is np.ndarray and found["h"].mean() == 2.0
    assert found["n"] == 3.0 and np.array_equal(found["a"], np.arange(3))
    torch.save(found, tmp_path / "b.pth")
    with zipfile.ZipFile(tmp_path / "b.pth") as archive:
        pickled = next(archive.read(n) for n in archive.namelist() if n.endswith("data.pkl"))
    assert b"mmdet_maskr" not in pickled
    assert checkpoint_files.load(tmp_path / "b.pth")["h"].mean() == 2.0


def test_bytearrays_of_checkpoints(tmp_path: Path):
    torch.save(Payload(bytearray, 3 << 30), tmp_path / "a.pth")
    with pytest.raises(UserError):
        CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"))


def test_packed_checkpoints(tmp_path: Path):
    """Torch reads archives that are compressed, and writes none."""
    path = tmp_path / "a.pth"
    zeros = bytes(1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range((MOST >> 20) + 5):
            archive.writestr(f"a/data/{i}", zeros)
    with pytest.raises(UserError):
        check_archive(path)
    with pytest.raises(UserError):
        CheckpointLoader.load_checkpoint(str(path))
