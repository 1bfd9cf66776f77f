"""What can happen to a download: one sentence each, and nothing half-written."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import mirror
import pytest
from forked import finish, fork
from local_server import Server, ok

from mmdet_maskr.errors import UserError
from mmdet_maskr.zoo import catalogue, home, prepare, transfer
from mmdet_maskr.zoo.catalogue import PretrainedModel

NAME = "maskrcnn_resnet50_fpn"


@functools.cache
def content() -> bytes:
    return mirror.file_of(catalogue.find(NAME))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretrainedModel:
    """A thin model in the catalogue, and an empty home."""
    content()  # of the catalogue as it is
    made = mirror.install(monkeypatch, [NAME], tmp_path / "mirror")[NAME]
    monkeypatch.setenv(home.HOME, str(tmp_path / "home"))
    monkeypatch.delenv(home.MIRROR, raising=False)
    monkeypatch.delenv(home.OFFLINE, raising=False)
    return made


def files(tmp_path: Path) -> list[str]:
    """What lies in the home, but for locks."""
    root = tmp_path / "home"
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.startswith("locks/"))


def failure(model: PretrainedModel) -> str:
    """The sentence that a try ends in."""
    with pytest.raises(UserError) as caught:
        prepare.prepare(model)
    text = str(caught.value)
    assert "\n" not in text
    return text


def at(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.MIRROR, server.url)


def test_from_a_server_once(model, tmp_path, monkeypatch, serve):
    server = serve(lambda c, path: c.sendall(ok(content())))
    at(server, monkeypatch)
    local = prepare.prepare(model)
    assert server.requests == [f"/download.pytorch.org/models/{model.file}"]
    assert Path(local.weights).is_file() and "box AP 37.9" in local.title
    server.close()
    assert prepare.prepare(model) == local
    Path(local.weights).unlink()  # the download is kept
    assert prepare.prepare(model) == local and Path(local.weights).is_file()


def test_a_host_that_is_down(model, tmp_path, monkeypatch, serve):
    server = serve(lambda c, path: None)
    at(server, monkeypatch)
    server.close()
    text = failure(model)
    assert "127.0.0.1 cannot be reached" in text and home.MIRROR in text
    assert str(home.download_place(NAME, model.file)) in text  # where to put it
    assert not files(tmp_path)


def test_the_file_put_by_hand(model, tmp_path, monkeypatch):
    monkeypatch.setenv(home.OFFLINE, "1")
    text = failure(model)
    place = home.download_place(NAME, model.file)
    assert model.url in text and str(place) in text
    place.parent.mkdir(parents=True)
    place.write_bytes(content()[:-1])
    assert "SHA256" in failure(model)
    place.write_bytes(content())
    assert Path(prepare.prepare(model).config).is_file()


@pytest.mark.parametrize("broken", [False, True])
def test_a_mirror_on_the_disk(model, tmp_path, monkeypatch, broken):
    root = tmp_path / "mirror"
    file = root / "download.pytorch.org" / "models" / model.file
    if broken:
        file.unlink()
        for mirror_address in (root.as_uri(), str(root)):
            monkeypatch.setenv(home.MIRROR, mirror_address)
            assert str(file) in failure(model)
        file.write_bytes(b"something else")
        assert "SHA256" in failure(model)
        assert not files(tmp_path)
    else:
        monkeypatch.setenv(home.MIRROR, str(root))
        prepare.prepare(model)
        assert not [name for name in files(tmp_path) if name.startswith("downloads")]


def test_a_web_page_for_a_checkpoint(model, tmp_path, monkeypatch, serve):
    page = b"<!DOCTYPE html><html><body>Sign in</body></html>"
    typed = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
    for answer in (ok(page), typed % (len(page), page)):
        at(serve(lambda c, path, answer=answer: c.sendall(answer)), monkeypatch)
        assert "a web page in place of the file" in failure(model)
        assert not files(tmp_path)


def test_a_redirect_to_a_login(model, tmp_path, monkeypatch, serve):
    def answer(connection: socket.socket, path: str) -> None:
        if path == "/login":
            connection.sendall(ok(b"<html>Sign in</html>"))
        else:
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n")

    server = serve(answer)
    at(server, monkeypatch)
    assert f"after it has led to {server.url}/login" in failure(model)
    assert not files(tmp_path)


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (403, "Forbidden")])
def test_an_error_of_the_server(model, tmp_path, monkeypatch, serve, status, reason):
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\n\r\n".encode()
    server = serve(lambda c, path: c.sendall(head))
    at(server, monkeypatch)
    assert f"HTTP {status}" in failure(model) and len(server.requests) == 1
    assert not files(tmp_path)


def test_another_file(model, tmp_path, monkeypatch, serve):
    at(serve(lambda c, path: c.sendall(ok(b"x" * 1000))), monkeypatch)
    assert "SHA256" in failure(model)
    assert not files(tmp_path)


def test_code_in_a_checkpoint_is_not_run(model, tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    evil = pickle.dumps(Evil())
    monkeypatch.setattr(transfer, "check_sum", lambda path, checksum: None)
    monkeypatch.setenv(home.MIRROR, str(tmp_path / "mirror"))
    file = tmp_path / "mirror" / "download.pytorch.org" / "models" / model.file
    file.write_bytes(evil)
    with pytest.raises(UserError):
        prepare.prepare(model)
    assert not (tmp_path / "evil").exists() and not files(tmp_path)


# ------------------------------------------------------------------------------- cut connections
def ranges(text: str) -> int:
    for line in text.splitlines():
        if line.lower().startswith("range: bytes="):
            return int(line.partition("=")[2].rstrip("-"))
    return 0


class Cutting:
    """Sends a few bytes of a file at a time, and breaks off; from where it was asked, if it can."""

    def __init__(self, data: bytes, pieces: list[int], resumes: bool = True) -> None:
        self.data, self.pieces, self.resumes = data, pieces, resumes
        self.starts: list[int] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/m.pth"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                start = ranges(connection.recv(65536).decode())
                self.starts.append(start)
                start = start if self.resumes else 0
                rest = self.data[start:]
                size = self.pieces.pop(0) if self.pieces else len(rest)
                status = b"206 Partial Content" if start else b"200 OK"
                head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n" % (status, len(rest))
                if start:
                    total = len(self.data)
                    head += b"Content-Range: bytes %d-%d/%d\r\n" % (start, total - 1, total)
                connection.sendall(head + b"\r\n" + rest[:size])

    def close(self) -> None:
        self._listening.close()


def cut(data: bytes, pieces: list[int], resumes: bool = True) -> Cutting:
    server = Cutting(data, pieces, resumes)
    threading.Thread(target=server.run, daemon=True).start()
    return server


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()[:8]}"


def test_a_connection_that_is_cut_at_any_byte(tmp_path: Path):
    data = bytes(range(1, 60))
    for at_byte in range(len(data)):
        server = cut(data, [at_byte])
        path = tmp_path / f"{at_byte}.pth"
        assert transfer.fetch(server.url, path, digest(data), "m", False).read_bytes() == data
        assert server.starts == [0, at_byte]
        assert os.listdir(tmp_path) == [path.name]
        path.unlink()
        server.close()


def test_several_cuts_and_a_server_that_begins_anew(tmp_path: Path):
    data = os.urandom(5000)
    server = cut(data, [1000, 1, 0, 0, 2000])
    assert transfer.fetch(server.url, tmp_path / "a", digest(data), "m", False).read_bytes() == data
    assert server.starts == [0, 1000, 1001, 1001, 1001, 3001]
    server = cut(data, [1000, 4000], resumes=False)
    assert transfer.fetch(server.url, tmp_path / "b", digest(data), "m", False).read_bytes() == data


def test_what_came_is_kept_for_the_next_try(tmp_path: Path):
    data = os.urandom(5000)
    server = cut(data, [3000] + [0] * transfer.ATTEMPTS)
    path = tmp_path / "m.pth"
    with pytest.raises(transfer.Unreachable, match="3000 bytes are saved"):
        transfer.fetch(server.url, path, digest(data), "m", False)
    assert not path.exists() and (tmp_path / "m.pth.part").read_bytes() == data[:3000]
    assert transfer.fetch(server.url, path, digest(data), "m", False).read_bytes() == data
    assert server.starts[-1] == 3000


@pytest.mark.parametrize("length", [10, 5000, 9000])
def test_a_part_of_another_file_is_thrown_away(tmp_path: Path, length: int):
    data = os.urandom(5000)
    (tmp_path / "m.pth.part").write_bytes(bytes(length))
    server = cut(data, [])
    if length >= len(data):  # a server has nothing after that
        server.resumes = False
    path = transfer.fetch(server.url, tmp_path / "m.pth", digest(data), "m", False)
    assert path.read_bytes() == data and os.listdir(tmp_path) == ["m.pth"]


# ------------------------------------------------------------------------------------------ disk
def test_a_disk_without_room(model, tmp_path, monkeypatch, serve):
    at(serve(lambda c, path: c.sendall(ok(content()))), monkeypatch)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    assert "is full (" in failure(model) and not files(tmp_path)


def test_a_disk_that_fills_up(model, tmp_path, monkeypatch, serve):
    at(serve(lambda c, path: c.sendall(ok(content()))), monkeypatch)

    def full(*args: object) -> None:
        args[2].write(b"some bytes")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "_copy", full)
        assert "is full" in failure(model) and not files(tmp_path)
    for module, name in ((prepare.safetensors_files, "write"), (prepare, "write_whole")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *args: full(0, 0, io.BytesIO()))
            assert "is full" in failure(model)
            assert not (home.model_folder(NAME) / prepare.NOTE).exists()
    prepare.prepare(model)


# ----------------------------------------------------------------------------------- certificates
@pytest.fixture
def expired(tmp_path: Path) -> Path:
    """A certificate for localhost that has expired, with its key; made by openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    (tmp_path / "index").touch()
    (tmp_path / "serial").write_text("01")
    key, config = tmp_path / "key.pem", tmp_path / "ca.conf"
    config.write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {tmp_path}/index\nserial = {tmp_path}/serial\n"
        f"new_certs_dir = {tmp_path}\ndefault_md = sha256\npolicy = any\nx509_extensions = names\n"
        "[any]\ncommonName = supplied\n[names]\nsubjectAltName = DNS:localhost\n"
        "basicConstraints = CA:TRUE\n"
    )
    run = functools.partial(subprocess.run, check=True, capture_output=True, cwd=tmp_path)
    run(["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
         "-keyout", str(key), "-out", "request.pem"])  # fmt: skip
    run(["openssl", "ca", "-selfsign", "-batch", "-notext", "-config", str(config),
         "-keyfile", str(key), "-in", "request.pem", "-out", "old.pem",
         "-startdate", "200101000000Z", "-enddate", "200102000000Z"])  # fmt: skip
    file = tmp_path / "old.pem"
    file.write_text(key.read_text() + file.read_text())
    return file


def test_an_expired_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve, expired):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired)
    monkeypatch.setenv("SSL_CERT_FILE", str(expired))  # it is trusted, but for its age

    def answer(connection: socket.socket, path: str) -> None:
        pass

    server = serve(answer)
    server._one = lambda connection: _shake_hands(context, connection)
    url = server.url.replace("http://127.0.0.1", "https://localhost") + "/m.pth"
    with pytest.raises(transfer.Unreachable, match="certificate of localhost has expired"):
        transfer.fetch(url, tmp_path / "m.pth", "md5:00", "m", False)
    assert not (tmp_path / "m.pth").exists()


def _shake_hands(context: ssl.SSLContext, connection: socket.socket) -> None:
    try:
        with context.wrap_socket(connection, server_side=True):
            pass
    except (ssl.SSLError, OSError):
        pass


# ------------------------------------------------------------------------------------- concurrent
def test_eight_processes_and_one_download(model, tmp_path, monkeypatch, serve):
    server = serve(lambda c, path: c.sendall(ok(content())))
    at(server, monkeypatch)
    log = tmp_path / "log"
    children = [fork(lambda: prepare.prepare(model), log) for _ in range(8)]
    codes = [finish(child) for child in children]
    assert codes == [0] * 8, log.read_text()
    assert len(server.requests) == 1
    assert prepare.prepare(model).title == str(model)


def test_an_entry_of_an_older_version_is_made_anew(model, tmp_path, monkeypatch):
    monkeypatch.setenv(home.MIRROR, str(tmp_path / "mirror"))
    local = prepare.prepare(model)
    before = Path(local.config).stat().st_mtime_ns
    assert prepare.prepare(model) and Path(local.config).stat().st_mtime_ns == before
    monkeypatch.setattr(prepare, "VERSION", prepare.VERSION + 1)
    prepare.prepare(model)
    assert Path(local.config).stat().st_mtime_ns > before
    Path(local.weights).write_bytes(b"cut")
    prepare.prepare(model)
    assert Path(local.weights).stat().st_size > 1000
