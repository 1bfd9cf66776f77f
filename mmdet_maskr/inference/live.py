"""Cameras and streams: always the newest frame."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from typing import TypeGuard
from urllib.parse import urlsplit

import cv2
import numpy as np

from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.video import Frame, Video

STREAMS = ("rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://", "srt://")  # never of a photo
ADDRESSES = (*STREAMS, "http://", "https://")
OPEN_MS = 15_000  # for which a stream is waited for
READ_MS = 15_000
RECONNECT_SECONDS = 60.0  # for which one that has broken off is opened again
PAUSES = (1.0, 10.0)  # between attempts: the first, doubled up to the last


class LiveFrames(Video):
    """The frames of a camera or stream, through OpenCV.

    A thread reads them as they come; of those that come while the model is busy the newest is
    kept, and the others are counted in ``dropped``. What breaks off is opened again; a file at an
    address has an end.

    Args:
        source: number of a camera, or address of a stream (rtsp, http, ...), which may hold a
            user's name and password.
        reconnect: for how many seconds without a frame to try to open it again; 0 for never.

    Raises:
        UserError: it is neither; it cannot be opened; a negative ``reconnect``.
    """

    live = True

    def __init__(self, source: int | str, reconnect: float = RECONNECT_SECONDS) -> None:
        if not reconnect >= 0:
            raise UserError(f"reconnect={reconnect!r}: it must be 0 or more seconds.")
        if isinstance(source, str) and source.isdecimal():
            source = int(source)
        is_camera = isinstance(source, int) and not isinstance(source, bool) and source >= 0
        if not is_camera and not (isinstance(source, str) and source.startswith(ADDRESSES)):
            raise UserError(
                f"camera {source!r}: it must be the number of a camera (0 is the first), or "
                f"the address of a stream ({', '.join(ADDRESSES)})."
            )
        self._source = source
        self.title = _without_password(source) if isinstance(source, str) else f"camera {source}"
        self.stem = re.sub(r"\W+", "_", self.title.partition("://")[2] or self.title).strip("_")
        self.reconnect = reconnect
        self.grabbed = self.taken = 0
        self._reader: cv2.VideoCapture | None = self._open()
        self._has_end = self._reader.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        fps = self._reader.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else 25.0  # many do not say

    @property
    def dropped(self) -> int:
        """How many frames were left out, as they came while the model was busy."""
        return max(0, self.grabbed - self.taken)

    def _open(self) -> cv2.VideoCapture:
        if isinstance(self._source, int):
            reader = cv2.VideoCapture(self._source)
        else:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                      READ_MS]  # fmt: skip
            reader = cv2.VideoCapture(self._source, cv2.CAP_FFMPEG, limits)
        if not reader.isOpened():
            hint = (
                "no such camera, another program has it, or there is no right to it (on Linux the "
                "group video; `v4l2-ctl --list-devices` lists them)"
                if isinstance(self._source, int)
                else "check address, name and password, e.g. with `ffplay ADDRESS`"
            )
            raise UserError(f"{self.title} cannot be opened: {hint}.")
        return reader

    def frames(self) -> Generator[Frame, None, None]:
        """The newest frame, each once, until the stream ends, and cannot be opened again."""
        first = self._open() if self._reader is None else self._reader
        self._reader, self.grabbed, self.taken = None, 0, 0
        fresh, leaving, ended = threading.Condition(), threading.Event(), threading.Event()
        reader = _Reader(self, first, leaving)
        newest: list[Frame] = []
        errors: list[BaseException] = []

        def grab() -> None:
            begin = None
            try:
                while not leaving.is_set() and (pixels := reader.read()) is not None:
                    now = time.monotonic()
                    begin = now if begin is None else begin
                    with fresh:
                        newest[:] = [Frame(self.grabbed, now - begin, pixels)]
                        self.grabbed += 1
                        fresh.notify()
            except BaseException as error:
                errors.append(error)
            finally:
                reader.release()
                ended.set()
                with fresh:
                    fresh.notify()

        threading.Thread(target=grab, name=f"grab {self.title}", daemon=True).start()
        try:
            while True:
                with fresh:
                    fresh.wait_for(lambda: newest or ended.is_set())
                    if not newest:
                        break
                    frame = newest.pop()
                    self.taken += 1
                yield frame
        finally:
            leaving.set()
        if errors:
            raise errors[0]
        print(f"{self.title} has ended after {self.grabbed} frames.")


class _Reader:
    """Reads a source, and opens it again where it breaks off.

    Args:
        live: the source.
        reader: it, opened.
        leaving: set where no more frames are wanted.
    """

    def __init__(self, live: LiveFrames, reader: cv2.VideoCapture, leaving: threading.Event):
        self._live, self._leaving = live, leaving
        self._reader: cv2.VideoCapture | None = reader

    def read(self) -> np.ndarray | None:
        """The next frame (H, W, 3) in BGR, None at the end."""
        live, last, pause = self._live, time.monotonic(), PAUSES[0]
        while True:
            pixels = None if self._reader is None else self._reader.read()[1]
            if pixels is not None:
                if pause > PAUSES[0]:
                    print(f"{live.title} is back.", flush=True)
                return pixels
            self.release()
            left = live.reconnect - (time.monotonic() - last)
            if live._has_end or left <= 0:
                return None
            if pause == PAUSES[0]:
                print(f"{live.title} has broken off, and is opened again.", flush=True)
            if self._leaving.wait(min(pause, left)):
                return None
            pause = min(2 * pause, PAUSES[1])
            with suppress(UserError):
                self._reader = live._open()

    def release(self) -> None:
        """Let go of the source."""
        if self._reader is not None:
            self._reader.release()
            self._reader = None


def is_stream(given: object) -> TypeGuard[str]:
    """Whether it is the address of a stream by its scheme; those of http may be photos."""
    return isinstance(given, str) and given.lower().startswith(STREAMS)


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
