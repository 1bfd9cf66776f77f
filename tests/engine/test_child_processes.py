"""Processes that a tool starts: which signals reach them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from mmdet_maskr.engine.child_processes import start_tool

PARENT = """
import subprocess, sys
from mmdet_maskr.engine.child_processes import start_tool
child = start_tool([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
child.wait()
"""


def test_a_terminals_signals_do_not_reach_it():
    """Ctrl-C goes to a whole group; a training would save, and end at its starter's SIGTERM."""
    child = start_tool([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert os.getpgid(child.pid) == child.pid != os.getpgrp()
    finally:
        child.terminate()
    assert child.wait() == -signal.SIGTERM


def test_it_ends_with_its_parent():
    """Any end of it, SIGKILL here."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    deadline = time.monotonic() + 30
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(child)


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
