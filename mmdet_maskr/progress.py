"""One way to show progress: bars of rich, all of a process in one display.

rich has one display on a terminal: bars of several threads would refuse, hide or overwrite one
another. Here each is a row of the same display, which ends with the last of them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class _Display:
    """The rows that are open; rich's display is there while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: Any = None
        self._rows = 0

    @contextlib.contextmanager
    def row(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        with self._lock:
            if self._progress is None:
                self._progress = _started()
            progress = self._progress
            self._rows += progress is not None
        if progress is None:
            yield lambda count: None
            return
        task = progress.add_task(title, total=total)
        try:
            yield lambda count: progress.advance(task, count)
        finally:
            with self._lock:
                self._rows -= 1
                if self._rows:
                    progress.remove_task(task)  # others may go on for days
                else:
                    self._progress = None
                    progress.stop()


def _started() -> Any:
    """rich's display; None without rich, or where the caller's own display takes the terminal."""
    try:
        from rich.errors import LiveError
        from rich.progress import Progress
    except ImportError:
        return None
    progress = Progress()
    try:
        progress.start()
    except LiveError:
        return None
    return progress


_DISPLAY = _Display()


@contextlib.contextmanager
def bar(title: str, total: int | None, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """A bar, with a function that moves it on by a number of steps.

    Threads may have one each at the same time. There is none where rich is not installed.

    Args:
        title: in front of it.
        total: number of steps; None where it is not known.
        shown: False for none.
    """
    with _DISPLAY.row(title, total) if shown else contextlib.nullcontext(lambda count: None) as go:
        yield go


def track(values: Sequence[T], title: str) -> Iterator[T]:
    """The values, with a bar that moves on after each."""
    with bar(title, len(values)) as advance:
        for value in values:
            yield value
            advance(1)
