"""Forked children: no start-up to wait for, and they can be killed."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config


def fork(run: Callable[[], object], log: str | Path, session: bool = True) -> int:
    """Run a function in a child with one thread; returns its process id.

    Its exit code is that of SystemExit, or 1 for another exception. Output is added to ``log``.
    With ``session`` it leads a session of its own, which :func:`kill` ends.
    """
    sys.stdout.flush()
    gc.collect()
    # pytest's timer: its thread does not come along, and a child that stops it would wait for ever
    faulthandler.cancel_dump_traceback_later()
    pid = os.fork()
    if pid:
        return pid
    gc.freeze()  # what came along may wait for threads that did not, when it is deleted
    code: object = 1
    try:
        if session:
            os.setsid()
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        torch.set_num_threads(1)
        # formatting the config takes a second at each checkpoint, longer than all else here
        Config.pretty_text = property(lambda cfg: f"# of {cfg.filename}")
        run()
        code = 0
    except SystemExit as leaving:
        code = 0 if leaving.code is None else leaving.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def run_tool(
    tool: Path,
    args: Sequence[str | Path],
    folder: Path | None = None,
    seconds: float = 120,
    formatted: bool = False,
) -> tuple[int, str]:
    """Run a script as its users do, but for the start-up: exit code, and all that it printed.

    Args:
        tool: the script.
        args: of its command line.
        folder: that it is called in; None for the current one.
        seconds: that it may take.
        formatted: whether configs in its output are written in full, which takes a second each.

    Raises:
        AssertionError: it did not end in time.
    """
    text = Config.pretty_text

    def run() -> None:
        if formatted:
            Config.pretty_text = text
        if folder is not None:
            os.chdir(folder)
        sys.argv = [str(tool), *map(str, args)]
        sys.path.insert(0, str(tool.parent))  # as Python does
        runpy.run_path(str(tool), run_name="__main__")

    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "output.txt"
        code = finish(fork(run, log), seconds)
        return code, log.read_text()


def finish(pid: int, seconds: float = 120) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it.

    Raises:
        AssertionError: it did not end in time; it is killed then.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    kill(pid)
    raise AssertionError(f"the child did not end within {seconds} s")


def kill(pid: int) -> None:
    """Kill -9 a child and its data workers; they are a session of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
