"""Differences between Linux, macOS and Windows, and a replacement for each."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # all others
    msvcrt = None  # type: ignore[assignment]
try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # ends a process without asking it
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


def lock_file(descriptor: int) -> bool:
    """Lock an open file for this process, until it closes it or ends in any way.

    Returns:
        False where another process has the lock.

    Raises:
        OSError: the file system, or the platform, has no locks.
    """
    try:
        if fcntl is not None:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            raise OSError(errno.ENOTSUP, "this platform has none")
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def usable_cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_bytes() -> int:
    """The largest resident size of this process so far.

    Raises:
        OSError: the platform does not tell.
    """
    if resource is None:
        raise OSError(errno.ENOTSUP, "the platform does not tell the peak of a process's memory")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def blocked_signals(numbers: Iterable[int]) -> Iterator[None]:
    """Keep signals from this thread, and for good from processes that it starts meanwhile.

    Where threads have no masks of signals, as on Windows, nothing is kept.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def own_group() -> dict:
    """Options of :class:`subprocess.Popen` for a process that Ctrl-C in the terminal passes by."""
    if os.name == "nt":
        return dict(creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))
    return dict(start_new_session=True)
