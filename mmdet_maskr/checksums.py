"""SHA-256 sums next to files, as ``FILE.sha256`` in the format of ``sha256sum --check``."""

from __future__ import annotations

import errno
import hashlib
import zipfile
from pathlib import Path

CHECKSUM_SUFFIX = ".sha256"


def checksum_file(path: Path) -> Path:
    """Where the checksum of a file stands."""
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def find_bad_bytes(path: Path) -> str | None:
    """What tells that a file's bytes are not those that were written, or None where nothing does.

    That is the checksum next to it; without one, the CRCs inside of it where it is an archive, as
    what torch writes is (torch itself does not look at them).

    Raises:
        OSError: it cannot be read.
    """
    checksum = checksum_file(path)
    if checksum.is_file():
        expected = checksum.read_bytes().split(maxsplit=1)[:1]
        actual = digest_of(path).encode()
        return None if expected == [actual] else f"its bytes differ from {checksum.name}"
    try:
        if not zipfile.is_zipfile(path):  # raises where a bit of the directory's end is wrong
            return None
        with zipfile.ZipFile(path) as archive:
            # torch.serialization.set_crc32_options(False) leaves zeros
            for part in (part for part in archive.infolist() if part.CRC):
                try:
                    with archive.open(part) as file:
                        while file.read(1 << 20):
                            pass
                except zipfile.BadZipFile:
                    return f"its part {part.filename} is damaged"
    except Exception as error:  # a bit in the archive's directory ends in errors of many types
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, None):
            raise  # the file cannot be read; EINVAL is a seek to where it has no bytes
        return f"it is damaged ({first_line(error)})"
    return None


def first_line(error: Exception) -> str:
    """What an error says, cut to one line."""
    return (str(error).splitlines() or [repr(error)])[0][:200]
