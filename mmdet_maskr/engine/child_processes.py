"""Child processes: none outlives this process, and Ctrl-C goes to this one only."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence

from mmdet_maskr.platforms import own_group

_PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal that a process gets when its parent ends
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent(number: int) -> None:
    """In a child: get signal ``number`` when the parent ends by any signal (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def _end_softly_with_parent() -> None:
    end_with_parent(signal.SIGTERM)  # not SIGKILL: torchrun ends its workers, a training saves


def start_tool(command: Sequence[str], **options) -> subprocess.Popen:
    """Start a command that gets SIGTERM when this process ends, and no signal of the terminal.

    Ctrl-C reaches all processes of a terminal's group. A training takes that as the request to save
    and leave, and would take the SIGTERM of its starter as a second one: to leave at once.

    Args:
        command: program and arguments.
        options: of :class:`subprocess.Popen`.
    """
    if _LIBC is not None:
        options.setdefault("preexec_fn", _end_softly_with_parent)
    return subprocess.Popen(command, **own_group(), **options)
