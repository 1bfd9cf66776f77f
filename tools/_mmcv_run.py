"""What install_mmcv.py runs things with: messages, child processes, progress, the cache's lock."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import _mmcv_build as build

try:
    import fcntl
except ImportError:  # Windows, where the tool ends with a sentence
    fcntl = None  # type: ignore[assignment]


class Stop(Exception):
    """The run ends here: a message for the user (none if it was said already) and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, as in 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Commands:
    """Runs child processes so that a signal ends them and all their children.

    The signal handler only takes a note, which is read while a child runs and between the steps;
    a protected child (pip replacing mmcv) is waited for first.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.env: dict[str, str] = {}  # for each child, on top of its own
        self.farewell = "Interrupted: nothing is left behind, mmcv is as it was."
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks for
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self.signal = number

    def check(self) -> None:
        """Raise Stop if a signal came."""
        if self.signal:
            raise Stop(self.farewell, 128 + self.signal)

    def run(
        self,
        command: list[str],
        log: TextIO,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        protect: bool = False,
        watch: Callable[[], None] | None = None,
    ) -> int:
        """Run a command with its output in `log`; return its exit code.

        protect: no signal ends it. watch: called five times a second. Raises Stop on a signal.
        """
        self.check()
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=(os.environ if env is None else env) | self.env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while child.poll() is None:
                if not protect:
                    self.check()
                if watch:
                    watch()
                time.sleep(0.2 if watch else 0.05)
        finally:
            self._end(child)
        if not protect:
            self.check()
        return child.returncode

    @staticmethod
    def _end(child: subprocess.Popen) -> None:
        """End what is left of a child's session: SIGTERM, 3 s of patience, SIGKILL.

        The session, not the process group: ninja gives each compiler a group of its own.
        """
        for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)):
            until = time.monotonic() + patience
            sent = False
            while time.monotonic() < until:
                child.poll()
                alive = session_members(child.pid)
                if not alive and child.returncode is not None:
                    return
                for pid in [] if sent else alive or [-child.pid]:  # no /proc: the process group
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
                sent = True
                time.sleep(0.05)


def session_members(session: int) -> list[int]:
    """Ids of the living processes of a session, found in /proc; none where there is no /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                state = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
                found += [int(folder.name)] * (state != "Z")
        except (OSError, IndexError):
            continue
    return found


class Progress:
    """Follows ninja's output in a log: a bar on a terminal, a line every 15 s elsewhere."""

    def __init__(self, log: Path, minutes: float, jobs: int) -> None:
        self.log, self.estimate, self.jobs = log, minutes * 60, jobs
        self.start = time.monotonic()
        self.offset = log.stat().st_size
        self.bar, self.next, self.shown = sys.stdout.isatty(), self.start + 15, False

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self.next and not (self.bar and now - self.start > 1):
            return
        self.next = now + 15
        with self.log.open("rb") as file:
            file.seek(self.offset)
            output = file.read().decode(errors="replace")
        self.show(build.parse_progress(output), now - self.start)

    def show(self, progress: tuple[int, int] | None, elapsed: float) -> None:
        """Draw the state; elapsed: seconds. Files at work count half for the time that is left."""
        done, total = progress or (0, 0)
        left = max(self.estimate - elapsed, 0)
        if done >= 2:
            share = done + 0.5 * min(self.jobs, total - done)
            left = elapsed / share * (total - share)
        files = f"{done} of {total} files compiled" if total else "compiling the first files"
        text = f"{files}, {clock(elapsed)} min elapsed, about {clock(left)} min left"
        if self.bar:
            filled = 30 * done // total if total else 0
            print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {text} ", end="", flush=True)
            self.shown = True
        else:
            say(f"  {text}")

    def close(self) -> None:
        """End the line of the bar."""
        if self.shown:
            print()


class CacheLock:
    """Context: the cache folder for one run at a time; gives whether another run was waited for."""

    def __init__(self, cache: Path, commands: Commands) -> None:
        self.cache, self.commands = cache, commands

    def __enter__(self) -> bool:
        self.cache.mkdir(parents=True, exist_ok=True)
        self.file = (self.cache / ".lock").open("w", encoding="utf-8")
        waited = False
        while True:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    say(f"Another run is at work in {self.cache}: waiting for it.")
                waited = True
                self.commands.check()
                time.sleep(0.2)
        for partial in self.cache.glob(".partial-*"):
            shutil.rmtree(partial, ignore_errors=True)
        return waited

    def __exit__(self, *_: object) -> None:
        self.file.close()


def tail(output: str, lines: int = 15) -> str:
    """The last lines of an output, the part that names the error."""
    errors = [line for line in output.splitlines() if re.search(r"(?i)\berror\b", line)][:3]
    last = output.splitlines()[-lines:]
    return "\n".join("  " + line[:300] for line in [*(e for e in errors if e not in last), *last])
