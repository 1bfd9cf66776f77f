"""SIGTERM and SIGINT as a request to finish the iteration, save and leave.

One stop often comes as several signals: ``timeout`` signals its child and then the whole group,
Slurm every process of a step, and torchrun or another starter passes on what its child has got
already. So for some seconds after a signal that counts, others are its echo.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import ClassVar

import torch
import torch.distributed as dist

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_SECONDS = 5.0
LAUNCHER = "MMDET_MASKR_LAUNCHER"  # the process id of tools/dist_train.py or dist_test.py
_last = -float("inf")  # when a signal has counted last
_follows: int | None = None  # the process that leave_signals_to_parent was called in


def is_echo() -> bool:
    """Whether a signal that comes now belongs to one before it; one that does not is noted."""
    global _last
    now = time.monotonic()
    if now - _last < ECHO_SECONDS:
        return True
    _last = now
    return False


def end_launcher(number: int = signal.SIGTERM) -> None:
    """Signal tools/dist_train.py or dist_test.py, if it has started this process.

    Else it would start its processes again, or wait for those of other nodes.
    """
    if os.environ.get(LAUNCHER) == str(os.getppid()):
        os.kill(os.getppid(), number)


class Stopped(KeyboardInterrupt):
    """What a tool is interrupted by: a KeyboardInterrupt with the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise :class:`Stopped` here, their echoes do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if not is_echo():
            raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_to_parent(leave: Callable[[int], object] = os._exit) -> None:
    """In a child: ignore SIGINT, and SIGTERM from any but the parent; that one ends this process.

    A scheduler or a terminal signals all processes of a job, and data workers are needed until
    their parent has saved. It ends them itself when it is done with them.

    A second call does nothing.

    Args:
        leave: is called with the exit code 0 when the parent wants an end.
    """
    global _follows
    if _follows == os.getpid():
        return
    _follows = os.getpid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def wait() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
            pass
        leave(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()


class StopRequest:
    """Takes the first SIGTERM or SIGINT of a process as a request; a later one ends it.

    Signals within :data:`ECHO_SECONDS` of the first belong to it. Meanwhile, forked children follow
    :func:`leave_signals_to_parent`: with this handler they would survive the SIGTERM by which
    ``multiprocessing.Pool`` ends its workers, and the pool waits for them.

    Attributes:
        group: of all ranks, on CPUs; None where there is one.

    Args:
        logger: says what happens when a signal comes.
        timeout: seconds that ranks wait for each other; None is torch's.
    """

    _open: ClassVar[set[StopRequest]] = set()
    _in_forks = False  # whether they know of it
    _masks = threading.local()  # what a thread that forks had blocked

    def __init__(self, logger: logging.Logger, timeout: float | None = None) -> None:
        self._logger = logger
        self._pid = os.getpid()
        self._received: int | None = None
        self._agreed: int | None = None
        self._before: dict = {}
        self.group = None
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # on CPUs with any backend, so that asking never waits for a GPU
            limit = None if timeout is None else timedelta(seconds=timeout)
            self.group = dist.new_group(backend="gloo", timeout=limit)
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
            self._open.add(self)
            if not StopRequest._in_forks and hasattr(os, "register_at_fork"):
                os.register_at_fork(
                    before=StopRequest._before_fork,
                    after_in_parent=StopRequest._after_fork,
                    after_in_child=StopRequest._after_fork_in_child,
                )
                StopRequest._in_forks = True

    @classmethod
    def _before_fork(cls) -> None:
        """Block SIGTERM: a new child forgets what its inherited handler caught, not what waits."""
        if cls._open:
            cls._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    @classmethod
    def _after_fork(cls) -> None:
        before = cls._masks.__dict__.pop("before", None)
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @classmethod
    def _after_fork_in_child(cls) -> None:
        if cls._open or _follows is not None:  # a child's children inherit what it has blocked
            cls._open.clear()
            leave_signals_to_parent()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid or is_echo():
            return
        if self._received is not None:
            self.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), number)
            return
        self._received = number
        name = signal.Signals(number).name
        text = f"saving after this iteration; once more in {ECHO_SECONDS:g} s or later ends it now"
        os.write(2, f"\n{name}: {text}\n".encode())

    def is_agreed(self) -> bool:
        """Whether any rank has received a signal; all ranks must ask equally often."""
        if self.group is None:
            self._agreed = self._received
        else:
            number = torch.tensor([self._received or 0])
            dist.all_reduce(number, op=dist.ReduceOp.MAX, group=self.group)
            self._agreed = int(number) or None
        return self._agreed is not None

    def is_wanted_here(self) -> bool:
        """Whether this process has received a signal and has nobody to agree with."""
        return self.group is None and self.is_agreed()

    def describe(self) -> tuple[str, int]:
        """Name of the agreed signal, and the exit code that stands for it."""
        if self._agreed is None:
            raise RuntimeError("describe() comes after is_agreed() was true")
        return signal.Signals(self._agreed).name, 128 + self._agreed

    def leave(self) -> None:
        """End the launchers of all nodes, once all ranks are here; then close.

        Only those that got the signal know of it. The others would take the end of their processes
        for a failure, and wait for the nodes that are gone.
        """
        if self._agreed is None:
            raise RuntimeError("leave() comes after is_agreed() was true")
        if self.group is not None:
            dist.barrier(group=self.group)  # a launcher ends all ranks of its node
        is_echo()  # what it sends them
        self.close()
        end_launcher(self._agreed)

    def close(self) -> None:
        """Handle the signals as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        self._open.discard(self)
