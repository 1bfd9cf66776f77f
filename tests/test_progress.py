"""Bars of several threads share a display, and end with the last."""

from __future__ import annotations

import io
import threading

import pytest
import rich
from rich.console import Console
from rich.errors import LiveError
from rich.live import Live

from mmdet_maskr import progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What rich writes to a terminal."""
    text = io.StringIO()
    monkeypatch.setattr(rich, "_console", Console(file=text, force_terminal=True, width=80))
    return text


@pytest.fixture
def one_display(monkeypatch: pytest.MonkeyPatch) -> list[Live]:
    """As older versions of rich: a second display is an error; the displays that were started."""
    running: list[Live] = []
    started: list[Live] = []
    start, stop = Live.start, Live.stop

    def only_start(self: Live, refresh: bool = False) -> None:
        if running:
            raise LiveError("Only one live display may be active at once")
        running.append(self)
        started.append(self)
        start(self, refresh)

    def only_stop(self: Live) -> None:
        if self in running:
            running.remove(self)
        stop(self)

    monkeypatch.setattr(Live, "start", only_start)
    monkeypatch.setattr(Live, "stop", only_stop)
    return started


def test_threads_share_a_display(terminal: io.StringIO, one_display: list[Live]):
    both = threading.Barrier(2, timeout=20)
    failures: list[Exception] = []

    def work(title: str) -> None:
        try:
            for value in progress.track(range(4), title):
                if value in (0, 2):
                    both.wait()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(title,)) for title in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(one_display) == 1
    assert "first" in terminal.getvalue() and "second" in terminal.getvalue()
    assert progress._DISPLAY._progress is None and progress._DISPLAY._rows == 0


def test_rows_that_are_done_are_not_kept(terminal: io.StringIO, one_display: list[Live]):
    """A service has calls that overlap for days."""
    with progress.bar("long", None):
        for _ in range(50):
            with progress.bar("short", 1) as advance:
                advance(1)
        assert len(progress._DISPLAY._progress.tasks) == 1
    assert len(one_display) == 1


def test_an_error_ends_the_display(terminal: io.StringIO):
    with pytest.raises(ValueError), progress.bar("title", 3):
        raise ValueError
    assert progress._DISPLAY._progress is None
    with pytest.raises(GeneratorExit), progress.bar("title", 3):
        raise GeneratorExit
    assert progress._DISPLAY._progress is None


def test_inside_of_the_callers_display(terminal: io.StringIO, one_display: list[Live]):
    """``for path in rich.progress.track(paths): inferencer(path)`` has one bar: the caller's."""
    with Live("mine", console=Console(file=io.StringIO(), force_terminal=True)):
        assert list(progress.track("abc", "inner")) == ["a", "b", "c"]
    assert list(progress.track("abc", "alone")) == ["a", "b", "c"]
    assert len(one_display) == 2


def test_without_a_bar(terminal: io.StringIO):
    with progress.bar("title", 3, shown=False) as advance:
        advance(2)
    assert terminal.getvalue() == ""
