"""Explains errors of the machine: memory, disk, dead processes."""

from __future__ import annotations

import errno
import re

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
# What libraries say (as regular expressions) when something outside of the program ended it.
_EXPLAINED = {
    r"DataLoader worker .*(is killed by signal|exited unexpectedly)": "a data worker was ended "
    "from outside, most likely for lack of memory: lower num_workers or batch_size",
    r"gloo.*(Connection (reset|closed|refused)|Broken pipe|Timed out|timed out)": "another process "
    "of this job died or stands still; its own message says why",
    r"can't allocate memory|CUDA out of memory|DefaultCPUAllocator": "there is not enough memory: "
    "lower train_dataloader.batch_size or the size of the images",
}


def machine_trouble(error: BaseException) -> str | None:
    """What something outside of the program did, as a sentence without its dot; else None."""
    if not isinstance(error, (RuntimeError, MemoryError, OSError)):
        return None
    if isinstance(error, MemoryError):
        first = (str(error).splitlines() or [""])[0]
        return (
            f"there is not enough memory ({first}): lower num_workers or batch_size, or the size "
            "of the images"
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return f"{error.filename or 'a file'} cannot be written: {error.strerror}"
    text = str(error)
    for pattern, explanation in _EXPLAINED.items():
        if re.search(pattern, text, re.DOTALL):
            return f"{explanation} ({text.splitlines()[0][:200]})"
    return None
