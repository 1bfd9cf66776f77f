"""Runs a tool in a forked child: no start-up to wait for, and it can be ended."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from forked import finish, fork


def run_tool(tool: Path, args: Sequence[str], folder: Path, seconds: float) -> tuple[int, str]:
    """Exit code and output of a tool that is run in ``folder``.

    Raises:
        AssertionError: it did not end in time.
    """
    log = folder / "output.txt"

    def run() -> None:
        os.chdir(folder)
        sys.argv = [str(tool), *args]
        runpy.run_path(str(tool), run_name="__main__")

    code = finish(fork(run, log), seconds)
    return code, log.read_text()
