"""Checkpoint files: arrays are read, code is not run."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdet_maskr.errors import UnsafeCheckpointError, UserError
from mmdet_maskr.weights.sources import foreign_state_dict, load_file


def written(folder: Path, value: object, protocol: int = 2) -> Path:
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_arrays(tmp_path: Path, protocol: int):
    arrays = collections.OrderedDict(
        weight=np.arange(6, dtype=np.float32).reshape(2, 3),
        big_endian=np.arange(3, dtype=">i4"),
        number=np.array(7),
        half=np.zeros((0, 2), np.float16),
    )
    loaded = load_file(written(tmp_path, {"model": arrays, "__author__": "x"}, protocol))
    state = foreign_state_dict(loaded, "model.pkl")
    assert list(state) == list(arrays)
    assert state["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["big_endian"].tolist() == [0, 1, 2] and state["number"].item() == 7
    assert state["half"].shape == (0, 2)


class Evil:
    """Would create a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_code_is_refused(tmp_path: Path, suffix: str):
    trap = tmp_path / "trap"
    path = written(tmp_path, {"model": {"weight": np.zeros(2)}, "extra": Evil(trap)})
    path = path.rename(tmp_path / f"evil{suffix}")
    with pytest.raises(UnsafeCheckpointError, match=f"evil{suffix}.*refused.*io.open|_io.open"):
        load_file(path)
    assert not trap.exists()


def test_code_inside_of_an_array_is_refused(tmp_path: Path):
    trap = tmp_path / "trap"
    array = np.array([Evil(trap)], dtype=object)
    with pytest.raises(UnsafeCheckpointError):
        load_file(written(tmp_path, {"model": {"weight": array}}))
    assert not trap.exists()


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_damaged_files(tmp_path: Path, suffix: str):
    path = tmp_path / f"model{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": {"weight": np.zeros(1000)}}))
    else:
        torch.save(dict(weight=torch.zeros(1000)), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=f"model{suffix} cannot be read"):
        load_file(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        load_file(path)


def test_files_without_weights(tmp_path: Path):
    with pytest.raises(UserError, match="there is no checkpoint"):
        load_file(tmp_path / "none.pkl")
    with pytest.raises(UserError, match="contains a list"):
        load_file(written(tmp_path, [1, 2]))
    with pytest.raises(UserError, match="contains no weights"):
        foreign_state_dict(load_file(written(tmp_path, {"epoch": 3})), "model.pkl")
    mixed = {"model": {"weight": np.zeros(2), "name": np.array(["a"])}}
    with pytest.raises(UserError, match="name is a ndarray, not an array of numbers"):
        foreign_state_dict(load_file(written(tmp_path, mixed)), "model.pkl")


@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_torch_files(tmp_path: Path, key: str | None):
    state = dict(weight=torch.arange(3.0))
    torch.save({key: state, "iteration": 5} if key else state, tmp_path / "m.pth")
    found = foreign_state_dict(load_file(tmp_path / "m.pth"), "m.pth")
    assert list(found) == ["weight"] and found["weight"].tolist() == [0, 1, 2]
