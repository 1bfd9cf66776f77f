"""A damaged checkpoint is refused wherever a local file is read."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from torch import nn

import mmdet_maskr.models  # noqa: F401  with the first part, files are read so
from mmdet_maskr import checkpoint_files
from mmdet_maskr.engine.durable_files import DurableBackend
from mmdet_maskr.errors import UserError


def test_damaged_weights_are_refused(tmp_path: Path):
    """By the checksum where there is one, else by the CRCs; cut files of any length."""
    model = nn.Linear(50, 50)
    path = tmp_path / "epoch_1.pth"
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "plain.pth")
    whole = (tmp_path / "plain.pth").read_bytes()
    DurableBackend().put(whole, path)
    load_checkpoint(model, str(path))
    at = whole.index(model.weight.detach().numpy().tobytes())
    flipped = bytearray(whole)
    flipped[at + 3] ^= 64  # an exponent
    path.write_bytes(flipped)
    with pytest.raises(UserError, match=r"epoch_1\.pth.*sha256"):
        load_checkpoint(model, str(path))
    path.with_name("epoch_1.pth.sha256").unlink()
    with pytest.raises(UserError, match=r"epoch_1\.pth.*data/"):
        load_checkpoint(model, str(path))
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"epoch_1\.pth"):
            CheckpointLoader.load_checkpoint(str(path), "cpu", logger="silent")


def test_files_without_crcs_and_archive(tmp_path: Path):
    """What torch writes on demand: there is nothing to compare, and they are read."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(x=torch.ones(3)), tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    torch.save(dict(x=torch.ones(3)), tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name in ("a.pth", "b.pth"):
        loaded = CheckpointLoader.load_checkpoint(str(tmp_path / name), "cpu", logger="silent")
        assert loaded["x"].tolist() == [1, 1, 1]


def test_torchs_own_lists_are_as_before(tmp_path: Path):
    """While a file is read they have more; others' torch.load takes what it took."""
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    hub = dict(log_scalars=dict(loss=history))
    torch.save(dict(state_dict={}, message_hub=hub), tmp_path / "a.pth")
    own = importlib.import_module("torch._weights_only_unpickler")._get_allowed_globals()
    before = dict(own), set(torch.serialization.get_safe_globals())
    loaded = checkpoint_files.load(tmp_path / "a.pth")["message_hub"]["log_scalars"]["loss"]
    assert loaded.mean() == 1.5 and type(loaded.data[0]) is np.ndarray
    assert (dict(own), set(torch.serialization.get_safe_globals())) == before
    assert own["builtins.bytearray"] is bytearray
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)
