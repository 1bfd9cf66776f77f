"""What servers can do to a download: nothing that stays, and nothing without an end."""

from __future__ import annotations

import hashlib
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from local_server import ok
from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_maskr import downloads
from mmdet_maskr.adjustments import own_calls
from mmdet_maskr.downloads import _check_target, download
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference import inputs


def weights(value: float) -> bytes:
    stream = io.BytesIO()
    torch.save(dict(a=torch.full((3,), value)), stream)
    return stream.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where weights are kept, while this package loads them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with own_calls():
        yield tmp_path / "hub" / "checkpoints"


def test_weights_of_two_addresses_are_two(cache: Path, serve):
    """Every run has an epoch_12.pth."""
    server = serve(lambda c, path: c.sendall(ok(weights(1.0 if path.startswith("/a") else 2.0))))
    for _ in range(2):
        for folder, value in (("a", 1.0), ("b", 2.0), ("a/?x=1", 1.0)):
            url = f"{server.url}/{folder}/epoch_12.pth"
            found = CheckpointLoader.load_checkpoint(url, map_location="cpu")
            assert found["a"].tolist() == [value] * 3
    assert len(server.requests) == 3  # each once


def test_a_file_of_other_programs_has_to_be_what_its_name_says(cache: Path, serve):
    content = weights(1.0)
    name = f"m-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    cache.mkdir(parents=True)
    server = serve(lambda c, path: c.sendall(ok(weights(2.0))))
    (cache / name).write_bytes(content)
    (cache / "m-00000000.pth").write_bytes(content)
    (cache / "m.pth").write_bytes(content)
    for file, value in ((name, 1.0), ("m-00000000.pth", 2.0), ("m.pth", 2.0)):
        found = CheckpointLoader.load_checkpoint(f"{server.url}/{file}", map_location="cpu")
        assert found["a"].tolist() == [value] * 3


@pytest.mark.parametrize("cut", ["announced", "chunked", "neither"])
def test_a_cut_download_does_not_stay(cache: Path, serve, cut: str):
    content, cuts = weights(1.0), [True]

    def answer(connection: socket.socket, path: str) -> None:
        if not cuts:
            connection.sendall(ok(content))
            return
        cuts.pop()
        head = b"HTTP/1.1 200 OK\r\n"
        if cut == "announced":
            connection.sendall(ok(content[:500], len(content)))
        elif cut == "chunked":
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + content[:100])
        else:
            connection.sendall(head + b"\r\n" + content[:500])

    url = f"{serve(answer).url}/m.pth"
    with pytest.raises(UserError):
        CheckpointLoader.load_checkpoint(url, map_location="cpu")
    assert not list(cache.iterdir())
    assert CheckpointLoader.load_checkpoint(url, map_location="cpu")["a"].tolist() == [1.0] * 3


@pytest.mark.parametrize(
    "slow",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1"],
)  # fmt: skip
@pytest.mark.parametrize("drop", [b"a", b""])
def test_a_slow_server_has_a_deadline(tmp_path: Path, serve, slow: bytes, drop: bytes):
    """A byte every now and then keeps a timeout for silence from ever coming."""

    def answer(connection: socket.socket, path: str) -> None:
        connection.sendall(slow)
        for _ in range(100):
            connection.sendall(drop)
            time.sleep(0.05)

    started = time.monotonic()
    with pytest.raises(UserError):
        download(f"{serve(answer).url}/a.jpg", tmp_path / "a.jpg", 1 << 20, 0.5)
    assert time.monotonic() - started < 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_answer_is_not_taken(tmp_path: Path, serve, announced: bool):
    sent = []

    def answer(connection: socket.socket, path: str) -> None:
        connection.sendall(ok(b"", 1 << 40) if announced else b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(64):
            connection.sendall(bytes(1 << 20))
            sent.append(1)

    with pytest.raises(UserError):
        download(f"{serve(answer).url}/a.jpg", tmp_path / "a.jpg", 2 << 20, 20)
    assert len(sent) < 40 and not list(tmp_path.iterdir())


def test_redirects(tmp_path: Path, serve):
    secret = serve(lambda c, path: c.sendall(ok(b"secret")))
    port = secret.url.rpartition(":")[2]
    targets = [
        secret.url, f"http://localhost:{port}/", f"http://[::1]:{port}/", f"http://0:{port}/",
        f"http://2130706433:{port}/", f"http://[::ffff:127.0.0.1]:{port}/", "file:///etc/passwd",
        "ftp://127.0.0.1/a", "http://169.254.169.254/latest", "http://10.0.0.1/", "data:,a", "//",
    ]  # fmt: skip

    def answer(connection: socket.socket, path: str) -> None:
        if path == "/end.jpg":
            connection.sendall(ok(b"good"))
            return
        target = "/end.jpg" if path == "/own" else path
        target = "/loop" if path == "/loop" else target
        if path.startswith("/to"):
            target = targets[int(path[3:])]
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode())

    server = serve(answer)
    for i in range(len(targets)):
        with pytest.raises(UserError):
            download(f"{server.url}/to{i}", tmp_path / "a.jpg", 1 << 20, 5)
    assert not secret.requests and not list(tmp_path.iterdir())
    with pytest.raises(UserError):
        download(f"{server.url}/loop", tmp_path / "a.jpg", 1 << 20, 5)
    assert download(f"{server.url}/own", tmp_path / "a.jpg", 1 << 20, 5).read_bytes() == b"good"


def test_redirects_to_public_addresses(monkeypatch: pytest.MonkeyPatch):
    def resolve(host: str, *rest: object, **options: object) -> list:
        found = {"good.org": ["93.184.216.34"], "bad.org": ["93.184.216.34", "10.0.0.1"]}[host]
        return [(2, 1, 6, "", (address, 443)) for address in found]

    monkeypatch.setattr(downloads.socket, "getaddrinfo", resolve)
    _check_target("https://a.org/x", "https://good.org/y")
    with pytest.raises(UserError):
        _check_target("https://a.org/x", "https://bad.org/y")


def test_names_that_lead_elsewhere_after_the_check(monkeypatch: pytest.MonkeyPatch):
    """What a redirect's name leads to counts when it is connected to, not when it was checked."""
    closed: list[str] = []

    class Opened:
        def __init__(self, peer: str) -> None:
            self.peer = peer

        def getpeername(self) -> tuple[str, int]:
            return self.peer, 80

        def close(self) -> None:
            closed.append(self.peer)

    def connect(*steps: tuple[str, str]) -> None:
        watch = downloads.Watch(60)
        for host, peer in steps:
            monkeypatch.setattr(socket, "create_connection", lambda *a, p=peer, **k: Opened(p))
            assert watch.connect((host, 80)).peer == peer

    public, private = "93.184.215.14", "127.0.0.1"
    connect(("a.org", public), ("b.org", public), ("a.org", public))
    connect(("a.org", private), ("a.org", private), ("b.org", public))  # a mirror of one's own
    for steps in (
        [("a.org", public), ("b.org", private)],
        [("a.org", public), ("a.org", "10.0.0.7")],
        [("a.org", public), ("b.org", "::1")],
        [("a.org", public), ("b.org", "::ffff:127.0.0.1")],
        [("a.org", private), ("b.org", private)],
    ):
        with pytest.raises(UserError, match="in a private network"):
            connect(*steps)
        assert closed.pop() == steps[-1][1]


def test_an_image_that_is_small_as_a_file_alone(tmp_path: Path, serve, monkeypatch):
    image = cv2.imencode(".png", np.zeros((300, 300, 3), np.uint8))[1].tobytes()
    server = serve(lambda c, path: c.sendall(ok(image)))
    assert inputs.fetch(f"{server.url}/a.png", tmp_path).is_file()
    monkeypatch.setattr(inputs, "MOST_PIXELS", 1000)
    with pytest.raises(UserError):
        inputs.fetch(f"{server.url}/b.png", tmp_path)


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///a.jpg", "http://[/a.jpg", "http://a b/c.jpg", "http://a\nb/c.jpg",
     "http://127.0.0.1:1/\u00e4.jpg", "http://127.0.0.1:99999/a.jpg", "http://127.0.0.1:1/%00.jpg",
     "http://127.0.0.1:1/" + "a" * 3000, "http://" + "a" * 300 + ".org/a.jpg",
     "http://127.0.0.1:1/\ud800.jpg", "http://user:pass@127.0.0.1:1/a.jpg", "http://127.0.0.1:1/.."],
)  # fmt: skip
def test_odd_addresses(tmp_path: Path, url: str):
    with pytest.raises(UserError):
        inputs.fetch(url, tmp_path)
