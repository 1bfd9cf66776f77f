"""Downloads of large files: resumed after a break, checked before they are kept.

What a server sends is data. It counts once it is whole and its checksum is the published one;
until then it has another name.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import re
import shutil
import ssl
import urllib.error
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mmdet_maskr import downloads, progress
from mmdet_maskr.atomic_files import give_name
from mmdet_maskr.errors import UserError

PART = ".part"
ATTEMPTS = 5  # connections in a row that bring nothing new
SECONDS = 6 * 3600.0
_MARGIN = 64 << 20  # bytes that are left on the disk
_PAGE = re.compile(rb"\s*<(!doctype|html|\?xml|head|body)", re.IGNORECASE)


class Unreachable(UserError):
    """A file that could not be fetched; the message is the reason, without what to do."""


class _Cut(Exception):
    """The connection ended before the file did."""


def check_sum(path: Path, checksum: str) -> str | None:
    """What tells that a file is not the one that was published, or None.

    Args:
        path: of the file.
        checksum: kind and first digits, such as 'md5:f10217'.
    """
    kind, _, digits = checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    found = digest.hexdigest()
    if found.startswith(digits):
        return None
    return f"its {kind.upper()} begins with {found[: len(digits)]}, and should with {digits}"


def local_file(url: str) -> Path | None:
    """The file that a ``file://`` address or a path names; None for an address of the web."""
    if url.startswith("file://"):
        return Path(url2pathname(urlsplit(url).path))
    return None if "://" in url else Path(url).expanduser()


def fetch(url: str, path: Path, checksum: str, title: str, shown: bool = True) -> Path:
    """Fetch a file, and check that it is the published one.

    Args:
        url: http or https.
        path: where to. What comes before a connection breaks is kept next to it, as ``PATH.part``.
        checksum: see :func:`check_sum`.
        title: of the bar.
        shown: whether there is one.

    Raises:
        Unreachable: with the reason.
        OSError: as from writing; a disk that is full leaves nothing behind.
    """
    downloads.check_address(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    for fresh in (False, True):
        began_at = part.stat().st_size if part.is_file() else 0
        _whole(url, part, title, shown)
        wrong = check_sum(part, checksum)
        if wrong is None:
            give_name(part, path)
            return path
        part.unlink()
        if fresh or not began_at:  # a part of another file may have been there
            raise Unreachable(f"what {urlsplit(url).hostname} sends is not this file: {wrong}")
    raise AssertionError


def _whole(url: str, part: Path, title: str, shown: bool) -> None:
    """Fetch until the file is whole, over several connections if need be."""
    idle = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            with downloads.Watch(SECONDS) as watch:
                _connect(url, part, watch, title, shown)
            return
        except UserError as error:
            if part.is_file() and not part.stat().st_size:
                part.unlink()
            raise Unreachable(str(error).rstrip(".")) from error
        except _Cut as error:
            after = part.stat().st_size if part.is_file() else 0
            idle = idle + 1 if after <= before else 0
            if idle >= ATTEMPTS:
                raise Unreachable(
                    f"the connection to {urlsplit(url).hostname} breaks again and again "
                    f"({error}); {after} bytes are saved in {part}; the same command continues "
                    "from there"
                ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)  # or all else on this disk would fail too
            raise


def _connect(url: str, part: Path, watch: downloads.Watch, title: str, shown: bool) -> None:
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with downloads.opened(url, watch, headers) as answer:
            start = _start_of(answer, have)
            _check_kind(url, answer)
            length = answer.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            _check_space(part.parent, None if total is None else total - start)
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                _copy(url, answer, file, start, total, title, shown)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # there is no more than what is there already
            part.unlink()
            raise _Cut("HTTP 416") from error
        reason = f"{urlsplit(url).hostname} answers HTTP {error.code}, {error.reason}"
        if error.code >= 500:
            raise _Cut(reason) from error
        raise Unreachable(reason) from error
    except urllib.error.URLError as error:
        raise Unreachable(_why(url, error.reason)) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Unreachable(_why(url, error)) from error
        raise _Cut(str(error) or type(error).__name__) from error


def _start_of(answer: Any, have: int) -> int:
    """From which byte on a server sends: those that are wanted, or all."""
    if answer.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have:
        raise Unreachable("the server sends other bytes than those that were asked for")
    return have


def _check_kind(url: str, answer: Any) -> None:
    kind = answer.headers.get("Content-Type", "")
    if "html" in kind.lower():
        raise Unreachable(_is_page(url, answer))


def _is_page(url: str, answer: Any) -> str:
    host, last = urlsplit(url).hostname, answer.geturl()
    moved = "" if last == url else f", after it has led to {last[:200]}"
    return f"{host} sends a web page in place of the file{moved}: a login, or a notice"


def _check_space(folder: Path, wanted: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if wanted is not None and wanted + _MARGIN > free:
        raise OSError(errno.ENOSPC, f"{wanted >> 20} MiB are needed, {free >> 20} MiB are free")


def _copy(
    url: str, answer: Any, file: Any, start: int, total: int | None, title: str, shown: bool
) -> None:
    count = start
    with progress.bar(title, total, shown) as advance:
        advance(start)
        while chunk := answer.read1(downloads.CHUNK):
            if count == 0 and _PAGE.match(chunk):
                raise Unreachable(_is_page(url, answer))
            file.write(chunk)
            count += len(chunk)
            advance(len(chunk))
            if count > downloads.WEIGHTS_BYTES:
                raise Unreachable(f"the file is larger than {downloads.WEIGHTS_BYTES >> 30} GiB")
    if total is not None and count < total:
        raise _Cut(f"cut off after {count} of {total} bytes")


def _why(url: str, reason: object) -> str:
    host = urlsplit(url).hostname
    if isinstance(reason, ssl.SSLCertVerificationError):
        what = reason.verify_message or "it cannot be verified"
        if "expired" in what:
            return f"the certificate of {host} has expired, so nobody knows who would answer"
        return f"the certificate of {host} is refused ({what})"
    if isinstance(reason, TimeoutError):
        return f"{host} does not answer"
    return f"{host} cannot be reached ({reason})"
