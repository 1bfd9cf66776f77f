"""Downloads that are complete or absent, with limits on size and time.

A redirect leads to public addresses or back to the server that was named, so that a page of
strangers cannot make this machine ask its own services. A file that is shorter than its server
announced is no file.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from mmdet_maskr.atomic_files import give_name, partial_of
from mmdet_maskr.checksums import digest_of
from mmdet_maskr.errors import UserError

SILENCE = 30.0  # seconds that a server may say nothing
CHUNK = 1 << 18
WEIGHTS_BYTES = 32 << 30
WEIGHTS_SECONDS = 3600.0


class Watch:
    """Ends connections of a download when their time is over, no matter what they wait for.

    The address of a redirect is checked again when it is connected to, because a host name can
    resolve to another address a moment later.
    """

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.late = False
        self._sockets: list[socket.socket] = []
        self._first: tuple[str, bool] | None = None  # host that was named; whether it is public
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        self.late = True
        for opened in list(self._sockets):
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already

    def connect(self, address: Any, timeout: Any = None, source: Any = None, **more: Any) -> Any:
        """``socket.create_connection``, watched.

        Raises:
            UserError: a redirect has led to an address that is not public, and was not named.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        opened = socket.create_connection(address, min(left, SILENCE), source, **more)
        self._sockets.append(opened)
        host, peer = str(address[0]), str(opened.getpeername()[0])
        public = _is_public(peer)
        if self._first is None:
            self._first = host, public
        if not public and self._first != (host, False):
            opened.close()
            raise UserError(
                f"a redirect leads to {host}, which now has the address {peer} in a private "
                "network. If this is intended, pass that address directly."
            )
        return opened

    def __enter__(self) -> Watch:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()


def _watched(kind: type, watch: Watch) -> Callable[..., Any]:
    def connection(*args: Any, **options: Any) -> Any:
        made = kind(*args, **options)
        made._create_connection = watch.connect
        return made

    return connection


class _Http(urllib.request.HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: Any) -> Any:
        return self.do_open(_watched(http.client.HTTPConnection, self._watch), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, req: Any) -> Any:
        return self.do_open(_watched(http.client.HTTPSConnection, self._watch), req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        _check_target(req.full_url, newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_target(old: str, new: str) -> None:
    """Check where a redirect leads.

    Raises:
        UserError: not to the web, or to an address that is not public and was not asked for.
    """
    target = urlsplit(new)
    if target.scheme not in ("http", "https") or not target.hostname:
        raise UserError(f"{old} leads to {new[:200]}, which is not on the web.")
    if _origin(old) == _origin(new):
        return
    try:
        found = socket.getaddrinfo(target.hostname, target.port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(f"{old} leads to {new[:200]}, which is not there ({error}).") from error
    for *_, address in found:
        if not _is_public(str(address[0])):
            raise UserError(
                f"{old} leads to {new[:200]}, which is an address in a private network. If "
                "this is intended, pass that address directly."
            )


def _is_public(address: str) -> bool:
    """Whether an IP address is one of the internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global


def _origin(url: str) -> tuple:
    parts = urlsplit(url)
    standard = 443 if parts.scheme == "https" else 80
    return parts.hostname, parts.port or standard


def check_address(url: str) -> None:
    """Check that an address is one.

    Raises:
        UserError: it is not one of the web, or holds what no address can.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        url.encode()
    except ValueError:
        good = False
    if not good or "\0" in unquote(url):
        raise UserError(
            f"{url[:200]!r} cannot be downloaded: it is not an address like "
            "https://a.org/photo.jpg."
        )


def opened(url: str, watch: Watch, headers: Mapping[str, str] = MappingProxyType({})) -> Any:
    """The answer of a server; its status, headers and bytes.

    Args:
        url: http or https.
        watch: ends the connection.
        headers: of the request.

    Raises:
        UserError: it leads to where nobody has asked for.
        OSError: as from :mod:`urllib.request`.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Http(watch),
        _Https(watch),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    # some servers refuse Python's own name
    request = urllib.request.Request(url, headers={"User-Agent": "mmdet_maskr", **headers})
    return opener.open(request, timeout=SILENCE)


def download(url: str, path: Path, most_bytes: int, seconds: float) -> Path:
    """Fetch a file.

    Args:
        url: http or https.
        path: where to; until the file is whole it has another name.
        most_bytes: that it may have.
        seconds: until it has to be there.

    Raises:
        UserError: it cannot be downloaded, is larger, cut off, or takes longer; where it leads to.
        OSError: as from writing.
    """
    check_address(url)
    with Watch(seconds) as watch:
        partial = partial_of(path)
        try:
            with opened(url, watch) as answer, partial.open("wb") as file:
                _copy(url, answer, file, most_bytes, watch)
            give_name(partial, path)
        except UserError:
            raise
        except urllib.error.HTTPError as error:
            raise UserError(_failed(url, f"HTTP {error.code}, {error.reason}")) from error
        except (urllib.error.URLError, http.client.HTTPException, ValueError) as error:
            raise UserError(_failed(url, _late(watch, seconds) or _words(error))) from error
        except OSError as error:
            if error.filename is not None:  # of the file, not of the connection
                raise
            raise UserError(_failed(url, _late(watch, seconds) or _words(error))) from error
        finally:
            partial.unlink(missing_ok=True)
    return path


def _copy(url: str, answer: Any, file: Any, most_bytes: int, watch: Watch) -> None:
    announced = answer.headers.get("Content-Length")
    wanted = int(announced) if announced is not None and announced.isdigit() else None
    count = 0
    while (wanted or 0) <= most_bytes and count <= most_bytes:
        chunk = answer.read1(CHUNK)
        if watch.late or time.monotonic() > watch.until:
            raise TimeoutError
        if not chunk:
            break
        count += len(chunk)
        file.write(chunk)
    else:
        raise UserError(_failed(url, f"it is larger than {most_bytes >> 20} MiB"))
    if wanted is not None and count != wanted:
        raise UserError(_failed(url, f"it was cut off after {count} of {wanted} bytes"))


def _late(watch: Watch, seconds: float) -> str | None:
    late = watch.late or time.monotonic() >= watch.until
    return f"it is not there after {seconds:g} s" if late else None


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(reason) or type(reason).__name__


def _failed(url: str, reason: str) -> str:
    return (
        f"{url} cannot be downloaded ({reason}): look at it in a browser, or download the file and "
        "give its path."
    )


def fetch_weights(url: str, folder: Path) -> Path:
    """A file of weights, downloaded once.

    Args:
        url: http or https; it is kept under a name that has the whole address's digest.
        folder: of such files. One there with the address's last part as its name, which other
            programs write, is taken only if its name ends in the beginning of its SHA-256.

    Raises:
        UserError: as :func:`download`.
    """
    name = re.sub(r"[^\w.+-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-100:]
    by_name = folder / name
    promised = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    if promised and by_name.is_file() and digest_of(by_name).startswith(promised[1]):
        return by_name
    key = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    path = folder / f"{key}-{name or 'weights.pth'}"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        download(url, path, WEIGHTS_BYTES, WEIGHTS_SECONDS)
    return path
