"""A few Python threads that share pieces of work, each with one thread inside torch.

What RoI layers do on a CPU is a sequence of short torch calls between copies by NumPy and OpenCV,
which release the GIL. Torch's own teams of threads would speed up the former only, and on a busy
machine each team waits at its barrier for a member that is not scheduled: 10 ms instead of 1 ms.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
_lock = Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def for_each(work: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
    """Call ``work`` on each piece, on as many threads as torch may use.

    Pieces must write to disjoint memory. The result does not depend on the number of threads. Mixed
    precision of the caller does not reach ``work``, which NumPy takes part in.
    """
    pieces = list(pieces)
    threads = torch.get_num_threads()
    if threads == 1 or len(pieces) < 2:
        with torch.autocast("cpu", enabled=False):  # of other threads it is off anyway
            for piece in pieces:
                work(piece)
        return

    def call(piece: Piece) -> None:
        with torch.inference_mode():  # also writes to tensors that the caller made in that mode
            work(piece)

    for _ in _pool(threads).map(call, pieces):
        pass  # raises what a piece raised


def _pool(threads: int) -> ThreadPoolExecutor:
    key = (os.getpid(), threads)  # threads do not survive a fork
    with _lock:
        if key not in _pools:
            # torch.set_num_threads also sets the default of threads to come: all workers start
            # here, and then the default is put back.
            started = Barrier(threads)
            pool = ThreadPoolExecutor(threads, "roi-layer", _use_one_thread)
            list(pool.map(lambda _: started.wait(), range(threads)))
            torch.set_num_threads(threads)
            _pools[key] = pool
        return _pools[key]


def _use_one_thread() -> None:
    torch.get_num_threads()  # lets torch initialize this thread, which would undo the next line
    torch.set_num_threads(1)
