"""Malicious and damaged files are refused, and nothing that they carry runs."""

from __future__ import annotations

import http.server
import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_maskr import adjustments
from mmdet_maskr.errors import UserError


@pytest.fixture(autouse=True)
def own_calls() -> Iterator[None]:
    """As within this package's tools, runner and inferencer."""
    with adjustments.own_calls():
        yield


class Payload:
    """Pickles as a call."""

    def __init__(self, function, *args) -> None:
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def write_malicious(path: Path, witness: Path, kind: str) -> None:
    payload = Payload(os.system, f"touch {witness}")
    if kind == "nested":
        content = dict(state_dict=OrderedDict(a=[1, {"x": payload}]))
    elif kind == "eval":
        content = Payload(eval, f"open({str(witness)!r}, 'w')")
    elif kind == "getattr":
        content = Payload(getattr, np.ndarray, "tofile")
    else:
        content = payload
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("kind", ["plain", "nested", "eval", "getattr"])
@pytest.mark.parametrize("suffix", [".pkl", ".pickle"])
def test_malicious_pickle(tmp_path: Path, kind: str, suffix: str):
    path, witness = tmp_path / f"results{suffix}", tmp_path / "executed"
    write_malicious(path, witness, kind)
    with pytest.raises(UserError, match=r"was refused: it asks for .*loading it could run code"):
        mmengine.load(str(path))
    assert not witness.exists()


def test_tensor_in_pickle_that_hides_code(tmp_path: Path):
    """A pickled storage is a file of torch's within the pickle; that is read as data, too."""
    inner, witness = tmp_path / "inner.pth", tmp_path / "executed"
    torch.save(Payload(os.system, f"touch {witness}"), inner)
    content = Payload(torch.storage._load_from_bytes, inner.read_bytes())
    path = tmp_path / "results.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="not a pickle, or it is damaged"):
        mmengine.load(str(path))
    assert not witness.exists()


def test_plain_pickles_load(tmp_path: Path):
    content = [
        dict(scores=np.arange(3.0), size=(4, 5), name="x", n=np.float32(2), raw=b"\x00\xff"),
        OrderedDict(boxes=torch.rand(2, 4), labels=torch.arange(2), flags={1, 2}, none=None),
    ]
    for protocol in (2, 4):
        path = tmp_path / f"results_{protocol}.pkl"
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        loaded = mmengine.load(str(path))
        assert np.array_equal(loaded[0]["scores"], content[0]["scores"])
        assert torch.equal(loaded[1]["boxes"], content[1]["boxes"])
        assert loaded[0]["raw"] == content[0]["raw"] and loaded[1]["flags"] == {1, 2}


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", pickle.dumps([1] * 99)[:-5]])
def test_damaged_pickle(tmp_path: Path, content: bytes):
    (tmp_path / "results.pkl").write_bytes(content)
    with pytest.raises(UserError, match="not a pickle, or it is damaged"):
        mmengine.load(str(tmp_path / "results.pkl"))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch {witness}']",
        "a: !!python/object/new:os.system ['touch {witness}']",
        "!!python/object/apply:builtins.open ['{witness}', 'w']",
        "a: !!python/name:os.system",
        "a: [1, 2",
        "[" * 3000,
    ],
)
@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_malicious_yaml(tmp_path: Path, text: str, suffix: str):
    path, witness = tmp_path / f"config{suffix}", tmp_path / "executed"
    path.write_text(text.format(witness=witness))
    with pytest.raises(UserError, match="not plain YAML data"):
        mmengine.load(str(path))
    assert not witness.exists()
    with pytest.raises(UserError, match="not plain YAML data"):
        mmengine.Config.fromfile(path)


def test_plain_yaml_loads(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("model: {type: X, sizes: [1, 2.5]}\n")
    assert mmengine.load(str(tmp_path / "a.yaml")) == {"model": {"type": "X", "sizes": [1, 2.5]}}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def test_malicious_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A checkpoint from a URL is read like a local one."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    served, witness = tmp_path / "served", tmp_path / "executed"
    served.mkdir()
    torch.save(dict(state_dict=dict(a=torch.ones(2))), served / "good.pth")
    torch.save(dict(a=Payload(os.system, f"touch {witness}")), served / "evil.pth")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(served))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        good = CheckpointLoader.load_checkpoint(f"{url}/good.pth", map_location="cpu")
        assert torch.equal(good["state_dict"]["a"], torch.ones(2))
        with pytest.raises(UserError, match=r"evil\.pth was refused: .* could run code"):
            CheckpointLoader.load_checkpoint(f"{url}/evil.pth", map_location="cpu")
    finally:
        server.shutdown()
        server.server_close()
    assert not witness.exists()
