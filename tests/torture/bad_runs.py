"""Runs a tool in a forked child: no start-up to wait for, and it can be ended."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config


def run_tool(tool: Path, args: Sequence[str], folder: Path, seconds: float) -> tuple[int, str]:
    """Exit code and output of a tool that is run in ``folder``.

    Raises:
        AssertionError: it did not end in time.
    """
    log = folder / "output.txt"
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _child(tool, args, folder, log)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), log.read_text()
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"{tool.name} did not end within {seconds} s: {log.read_text()[-2000:]}")


def _child(tool: Path, args: Sequence[str], folder: Path, log: Path) -> None:
    code = 1
    try:
        os.setsid()
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        os.chdir(folder)
        torch.set_num_threads(1)
        # formatting the config takes longer than all else here
        Config.pretty_text = property(lambda cfg: f"# of {cfg.filename}")
        sys.argv = [str(tool), *args]
        runpy.run_path(str(tool), run_name="__main__")
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
