"""torchrun, but for echoes of signals: started by _torchrun.sh with torchrun's arguments.

torchrun passes a signal on and waits for its processes to save. A second signal, which is often a
mere echo (``timeout`` signals its child and the group, Slurm every process), would break that wait
off, and a third one would leave the processes without it.
"""

from __future__ import annotations

import time
from types import FrameType

from torch.distributed.elastic.multiprocessing import api
from torch.distributed.run import main

ECHO_SECONDS = 5.0  # of mmdet_maskr.engine.signals, whose import would take seconds
_raise = api._terminate_process_handler
_last = -float("inf")


def _raise_unless_echo(number: int, frame: FrameType | None) -> None:
    global _last
    now = time.monotonic()
    if now - _last >= ECHO_SECONDS:
        _last = now
        _raise(number, frame)


if __name__ == "__main__":
    api._terminate_process_handler = _raise_unless_echo
    main()
