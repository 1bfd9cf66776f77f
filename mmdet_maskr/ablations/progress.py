"""Progress of a run, read from its log, and lines that show it."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TextIO

# mmengine's LogProcessor: Epoch(train) [2][ 40/200] lr: ... eta: 0:03:10, or Iter(train) [ 40/800]
_LINE = re.compile(
    r"(?:Epoch\(train\) +\[(?P<epoch>\d{1,9})\]|Iter\(train\) +)"
    r"\[ *(?P<done>\d{1,9})/(?P<total>\d{1,9})\]"
    r".*? eta: (?:(?P<days>\d{1,9}) days?, )?(?P<h>\d{1,9}):(?P<m>\d{1,9}):(?P<s>\d{1,9})"
)
QUIET_STEP = 0.1  # not on a terminal, lines come after so much more of a job


def read_progress(log: Path, max_epochs: int | None) -> tuple[float, float] | None:
    """Share of the training that is done and seconds left, by the last lines of its log.

    Args:
        log: what tools/train.py printed.
        max_epochs: None for runs that count iterations.

    Returns:
        None where the log does not say yet.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    lines = list(_LINE.finditer(text))
    if not lines:
        return None
    found = lines[-1]
    share = int(found["done"]) / max(int(found["total"]), 1)
    if found["epoch"] is not None:
        share = (int(found["epoch"]) - 1 + share) / max(max_epochs or int(found["epoch"]), 1)
    share = min(max(share, 0.0), 1.0)
    left = int(found["days"] or 0) * 86400
    left += int(found["h"]) * 3600 + int(found["m"]) * 60 + int(found["s"])
    return share, float(left)


def failure_reason(log: Path, code: int) -> str:
    """Why a tool ended with an exit code: its own words where it has any."""
    lines = []
    if log.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    errors = [line for line in lines if re.match(r"error: |(\w+\.)*\w*(Error|Exception)\b", line)]
    if code < 0:
        told = f"killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    else:
        told = f"exit code {code}"
    words = errors[-1].removeprefix("error: ") if errors else None
    return f"{told}: {words}" if words else f"{told}; see {log}"


def duration(seconds: float) -> str:
    """'45 s', '3 min', '2 h 05 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Board:
    """One line a job: redrawn in place on a terminal, else printed whenever enough has changed."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.live = self.stream.isatty()
        self._drawn = 0
        self._shares: dict[str, float] = {}
        self._since = time.monotonic()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=self.stream, flush=True)

    def show(self, lines: dict[str, tuple[float, str]], total: str) -> None:
        """Show the jobs that run: by title their share done and a text, and a line for all."""
        if self.live:
            self._clear()
            for title, (share, text) in lines.items():
                bar = "#" * round(20 * share)
                print(f"  [{bar:.<20}] {share:4.0%} {title}: {text}", file=self.stream)
            print(f"  {total}", file=self.stream, flush=True)
            self._drawn = len(lines) + 1
            return
        for title, (share, text) in lines.items():
            if share >= self._shares.get(title, 0.0) + QUIET_STEP:
                self._shares[title] = share
                print(f"{share:4.0%} {title}: {text}; {total}", file=self.stream, flush=True)

    def _clear(self) -> None:
        if self._drawn:
            self.stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0
