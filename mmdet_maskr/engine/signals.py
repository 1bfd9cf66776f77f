"""SIGTERM and SIGINT as a request to finish the iteration, save and leave."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType

import torch
import torch.distributed as dist

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Takes the first SIGTERM or SIGINT of a process as a request; a second one ends it.

    Processes forked from this one (data workers) let the first signal pass as well: a scheduler or
    a terminal sends it to all of them, and their batches are needed until the parent has saved.

    Args:
        logger: says what happens when a signal comes.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._pid = os.getpid()
        self._received: int | None = None
        self._agreed: int | None = None
        self._before: dict = {}
        self._group = None
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # on CPUs whatever the backend is, so that asking never waits for a GPU
            self._group = dist.new_group(backend="gloo")
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first, self._received = self._received is None, number
        if not first:
            self.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), number)
        elif os.getpid() == self._pid:
            name = signal.Signals(number).name
            os.write(2, f"\n{name}: saving after this iteration; once more ends it now\n".encode())

    def is_agreed(self) -> bool:
        """Whether any rank has received a signal; all ranks must ask equally often."""
        if self._group is None:
            self._agreed = self._received
        else:
            number = torch.tensor([self._received or 0])
            dist.all_reduce(number, op=dist.ReduceOp.MAX, group=self._group)
            self._agreed = int(number) or None
        return self._agreed is not None

    def is_wanted_here(self) -> bool:
        """Whether this process has received a signal and has nobody to agree with."""
        return self._group is None and self.is_agreed()

    def describe(self) -> tuple[str, int]:
        """Name of the agreed signal, and the exit code that stands for it."""
        if self._agreed is None:
            raise RuntimeError("describe() comes after is_agreed() was true")
        return signal.Signals(self._agreed).name, 128 + self._agreed

    def close(self) -> None:
        """Handle the signals as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
