"""Stages of a walk in threads of their own: what comes before the model, and what comes after it.

The model stays in the caller's thread, which keeps its settings (gradients, autocast) and takes
Ctrl-C. Queues are bounded, so a slow stage holds the others back, and keep the order.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Generic, NamedTuple, TypeVar

from mmdet_maskr.inference.video import Video

T = TypeVar("T")
POLL_SECONDS = 0.1  # after which a thread that waits looks whether it is to leave
JOIN_SECONDS = 5.0  # a camera that hangs holds up the end no longer


class Depths(NamedTuple):
    """How many images may wait on either side of the model; 0 for no thread there.

    Attributes:
        ahead: read and prepared, before it.
        behind: detected on, for the sinks.
    """

    ahead: int = 0
    behind: int = 0


IN_TURN = Depths()


def depths_of(source: object, show: bool = False) -> Depths:
    """The depths for a source: photos, which may be large, are done one after the other.

    Args:
        source: what :func:`.inputs.open_source` gives.
        show: whether a sink opens a window, which belongs to the caller's thread.
    """
    if not isinstance(source, Video):
        return IN_TURN
    depth = 1 if source.live else 4  # what waits is late
    return Depths(depth, 0 if show else depth)


@contextmanager
def ahead(items: Generator[T, None, None], depth: int) -> Iterator[Iterator[T]]:
    """The items, made by a thread while the caller works; ``depth`` of them wait at most.

    What making them raises is raised where the next item is taken. Leaving closes ``items``.
    """
    if depth < 1:
        with closing(items):
            yield items
        return
    stage = _Stage[T](depth)

    def fill() -> None:
        try:
            for item in items:
                if not stage.put(item):
                    break
        except BaseException as error:
            stage.error = error
        finally:
            items.close()
            stage.ended.set()

    stage.start(fill, "read ahead")
    try:
        yield stage.items()
    finally:
        stage.leave()


@contextmanager
def behind(work: Callable[[T], None], depth: int) -> Iterator[Callable[[T], None]]:
    """A function that has a thread do ``work`` on items, in order; ``depth`` of them wait at most.

    What the work raises is raised by the next call, or at the end, which waits for all of them.
    After an error in the caller, those that wait are left.
    """
    if depth < 1:
        yield work
        return
    stage = _Stage[T](depth)

    def empty() -> None:
        try:
            for item in stage.items():
                work(item)
        except BaseException as error:
            stage.error = error
            stage.leaving.set()

    def put(item: T) -> None:
        if not stage.put(item) and stage.error is not None:
            raise stage.error

    stage.start(empty, "write behind")
    try:
        yield put
        stage.ended.set()
        while stage.thread.is_alive():
            stage.thread.join(POLL_SECONDS)  # in parts, so that Ctrl-C is heard
        if stage.error is not None:
            raise stage.error
    finally:
        stage.leave()


class _Stage(Generic[T]):
    """A thread with a bounded queue on one side of it."""

    def __init__(self, depth: int) -> None:
        self._queue: queue.Queue[T] = queue.Queue(depth)
        self.leaving = threading.Event()
        self.ended = threading.Event()  # nothing more is put
        self.error: BaseException | None = None

    def start(self, target: Callable[[], None], name: str) -> None:
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=(target,), name=name, daemon=True)
        self.thread.start()

    def put(self, item: T) -> bool:
        """Wait for a place and take it; False where the stage is to be left."""
        while not self.leaving.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def items(self) -> Iterator[T]:
        """What was put, in order, until the end; then the error of the thread that put it."""
        while not self.leaving.is_set():
            last = self.ended.is_set()  # before the look: nothing is put after it
            try:
                yield self._queue.get(timeout=0 if last else POLL_SECONDS)
            except queue.Empty:
                if not last:
                    continue
                if self.error is not None:
                    raise self.error from None
                return

    def leave(self) -> None:
        """End the thread."""
        self.leaving.set()
        self.thread.join(JOIN_SECONDS)
