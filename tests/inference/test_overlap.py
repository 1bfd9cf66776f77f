"""Stages in threads: the same results in the same order, overlapped, with errors and ends heard."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from mmdet_maskr.engine import signals
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference import live as cameras
from mmdet_maskr.inference.inputs import open_source
from mmdet_maskr.inference.live import LiveFrames
from mmdet_maskr.inference.overlap import IN_TURN, Depths, depths_of
from mmdet_maskr.inference.sinks import JsonLines
from mmdet_maskr.inference.video import Frame, Video, VideoFrames, VideoSink, film_of
from mmdet_maskr.inference.walk import Image, Sink, walk

BOTH = Depths(3, 3)
SECONDS = 0.02  # that each stage sleeps


class Found(NamedTuple):
    lists: dict[str, Any]


class Numbers(Video):
    """Frames whose pixels are their number; reading one takes ``seconds``; one may fail."""

    def __init__(
        self, count: int, seconds: float = 0.0, live: bool = False, fails: int = -1
    ) -> None:
        self.count, self.seconds, self.live, self.fails = count, seconds, live, fails
        self.stem, self.fps, self.closed = "numbers", 10.0, False

    def frames(self) -> Generator[Frame, None, None]:
        try:
            for i in range(self.count):
                time.sleep(self.seconds)
                if i == self.fails:
                    raise ZeroDivisionError
                yield Frame(i, i / self.fps, np.full((2, 2, 3), i, np.uint8))
        finally:
            self.closed = True

    def __len__(self) -> int:
        return self.count


class Model:
    """Finds the first pixel, in ``seconds``; fails at frame ``fails``, which stands for Ctrl-C."""

    def __init__(self, seconds: float = 0.0, fails: int = -1, error: Any = None) -> None:
        self.seconds, self.fails, self.error = seconds, fails, error
        self.threads: set[int] = set()

    def prepare(self, image: Image) -> int:
        return int(image.content[0, 0, 0])

    def detect(self, prepared: list[int]) -> list[Found]:
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if self.fails in prepared:
            raise self.error
        return [Found(dict(labels=[value], scores=[1 / (1 + value)])) for value in prepared]


class Keeps(Sink):
    """Keeps what comes; taking one takes ``seconds``."""

    place = Path("there")

    def __init__(self, seconds: float = 0.0, fails: int = -1) -> None:
        self.seconds, self.fails = seconds, fails
        self.rows: list[tuple] = []
        self.ends: list[bool] = []

    def add(self, image: Image, number: int, found: Found) -> None:
        time.sleep(self.seconds)
        if image.name == self.fails:
            raise OSError(28, "No space left on device")
        self.rows.append((image.name, image.seconds, number, found.lists))

    def close(self, whole: bool) -> None:
        self.ends.append(whole)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("depths", [Depths(1, 1), Depths(4, 0), Depths(0, 2), BOTH])
def test_same_as_in_turn(batch_size: int, depths: Depths):
    """Frame by frame, nothing is lost, and the model runs in the caller's thread."""
    expected, found, model = Keeps(), Keeps(), Model()
    walk(Numbers(20), Model(), [expected], batch_size)
    source = Numbers(20)
    report = walk(source, model, [found], batch_size, depths=depths)
    assert found.rows == expected.rows and len(found.rows) == 20
    assert [row[0] for row in found.rows] == report.images == list(range(20))
    assert found.ends == [True] and source.closed
    assert model.threads == {threading.get_ident()}


def test_stages_overlap():
    """Three stages that sleep equally long: three times faster, but for the ends."""

    def seconds(depths: Depths) -> float:
        begin = time.monotonic()
        walk(Numbers(12, SECONDS), Model(SECONDS), [Keeps(SECONDS)], depths=depths)
        return time.monotonic() - begin

    assert seconds(IN_TURN) >= 1.3 * seconds(BOTH)


@pytest.mark.parametrize("stage", ["read", "model", "sink"])
def test_an_error_of_any_stage_reaches_the_caller(stage: str):
    source = Numbers(50, fails=7 if stage == "read" else -1)
    model = Model(fails=7 if stage == "model" else -1, error=RuntimeError("of the model"))
    sink = Keeps(fails=7 if stage == "sink" else -1)
    errors = dict(read=ZeroDivisionError, model=RuntimeError, sink=UserError)
    before = threading.active_count()
    with pytest.raises(errors[stage]):
        walk(source, model, [sink], depths=BOTH)
    assert sink.ends == [False]
    if stage == "sink":
        assert len(sink.rows) == 7
    assert threading.active_count() == before


@pytest.mark.parametrize("depths", [IN_TURN, Depths(3, 0), BOTH])
def test_ctrl_c_ends_a_video_with_whole_files(depths: Depths):
    """Frames that were detected on are taken; a file's walk raises, a camera's has ended."""
    for live in (False, True):
        source, sink = Numbers(1000, live=live), Keeps()
        model = Model(fails=30, error=KeyboardInterrupt())
        if live:
            assert walk(source, model, [sink], depths=depths).stopped
        else:
            with pytest.raises(KeyboardInterrupt):
                walk(source, model, [sink], depths=depths)
        assert [row[0] for row in sink.rows] == list(range(30))
        assert sink.ends == [True] and source.closed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_a_video_that_can_be_read(number: int, monkeypatch, tmp_path: Path):
    """As ``maskr predict`` gets them: with the frames until then, under the file's own name."""
    monkeypatch.setattr(signals, "_last", -float("inf"))
    film = VideoSink(tmp_path / "a.mp4", 10.0)

    class Writes(Sink):
        def add(self, image: Image, number: int, found: Found) -> None:
            film.write(np.full((64, 64, 3), 100, np.uint8))

        def close(self, whole: bool) -> None:
            film.close(whole)

    class Ended(Model):
        def detect(self, prepared: list[int]) -> list[Found]:
            if prepared == [20]:
                os.kill(os.getpid(), number)
                time.sleep(5)  # which the signal ends
            return super().detect(prepared)

    with pytest.raises(signals.Stopped) as stopped, signals.interruptible():
        walk(Numbers(1000), Ended(), [Writes()], depths=BOTH)
    assert stopped.value.number == number
    assert len(list(VideoFrames(film.path))) == 20


def test_photos_are_done_in_turn(tmp_path: Path):
    """They may be large; of videos more frames wait than of cameras."""
    assert depths_of(["a.jpg", "b.jpg"]) == IN_TURN
    assert depths_of(Numbers(1)).ahead > depths_of(Numbers(1, live=True)).ahead >= 1
    assert depths_of(Numbers(1), show=True).behind == 0


class Camera:
    """Stands for ``cv2.VideoCapture``: a frame each ``period`` seconds, ``count`` of them.

    ``length`` is what it says of how many there are; attempts to open it that are in ``fail``, from
    0 on, do so.
    """

    count, period, opened, length = 40, 0.005, True, 0.0
    fail: frozenset[int] = frozenset()
    addresses: list[tuple] = []

    def __init__(self, *address: Any) -> None:
        self.number = len(self.addresses)
        self.addresses.append(address)
        self.given, self.next = 0, time.monotonic()

    def isOpened(self) -> bool:
        return self.opened and self.number not in self.fail

    def get(self, kind: int) -> float:
        known = {cv2.CAP_PROP_FPS: 1 / self.period, cv2.CAP_PROP_FRAME_COUNT: self.length}
        return known.get(kind, 0.0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        if self.given == self.count:
            return False, None
        time.sleep(max(0.0, self.next - time.monotonic()))
        self.next += self.period
        self.given += 1
        return True, np.full((2, 2, 3), self.given - 1, np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> type[Camera]:
    kind = type("Stand", (Camera,), dict(addresses=[]))
    monkeypatch.setattr(cv2, "VideoCapture", kind)
    return kind


def test_a_late_model_drops_frames_of_a_camera_alone(camera: type[Camera], capsys):
    """Those it takes are ascending, each is what its number says, and the last comes too."""
    source, sink = LiveFrames(0, reconnect=0), Keeps()
    report = walk(source, Model(0.03), [sink], depths=depths_of(source))
    names = [row[0] for row in sink.rows]
    assert names == report.images == sorted(set(names)) and names[-1] == 39
    assert [row[3]["labels"] for row in sink.rows] == [[name] for name in names]
    assert source.grabbed == 40 and source.dropped == 40 - len(names) >= 10
    assert [row[1] for row in sink.rows] == sorted(row[1] for row in sink.rows)
    assert camera.addresses == [(0,)] and "camera 0 has ended" in capsys.readouterr().out
    kept = Keeps()
    walk(Numbers(40, 0.001), Model(0.01), [kept], depths=BOTH)
    assert [row[0] for row in kept.rows] == list(range(40))


def test_a_camera_that_breaks_off(camera: type[Camera], monkeypatch, capsys):
    """It is opened again, and goes on counting; what does not come back ends in time."""
    monkeypatch.setattr(cameras, "PAUSES", (0.01, 0.04))
    camera.count, camera.fail = 3, frozenset({1, *range(3, 1000)})
    source, sink = LiveFrames("rtsp://me:secret@10.0.0.7/a", reconnect=0.5), Keeps()
    begin = time.monotonic()
    report = walk(source, Model(), [sink], depths=depths_of(source))
    assert source.grabbed == 6 and report.images[-1] == 5
    seconds = [row[1] for row in sink.rows]
    assert report.images == sorted(report.images) and seconds == sorted(seconds)
    assert 0.5 <= time.monotonic() - begin < 10
    assert 3 + 0.5 / 0.04 - 2 <= len(camera.addresses) <= 3 + 50
    said = capsys.readouterr().out
    assert said.count("has broken off") == 2 and said.count("is back") == 1
    assert "has ended after 6 frames" in said and "secret" not in said


def test_what_is_not_opened_again(camera: type[Camera]):
    """A file at an address has an end; whoever leaves does not wait."""
    camera.count, camera.length = 3, 3.0
    source = LiveFrames("http://10.0.0.7/a.mp4")
    walk(source, Model(), [], depths=depths_of(source))
    assert source.grabbed == 3 and len(camera.addresses) == 1
    camera.length, camera.opened = 0.0, True
    frames = LiveFrames(0, reconnect=1000).frames()
    next(frames)
    camera.fail = frozenset(range(1000))
    begin = time.monotonic()
    frames.close()
    wait_for = time.monotonic() + 5
    while any(thread.name == "grab camera 0" for thread in threading.enumerate()):
        assert time.monotonic() < wait_for
        time.sleep(0.01)
    assert time.monotonic() - begin < 5
    with pytest.raises(UserError, match="reconnect"):
        LiveFrames(0, reconnect=-1)


def test_addresses(camera: type[Camera]):
    """Numbers as texts; streams with their limits of time; passwords are in no message."""
    assert LiveFrames("1").stem == "camera_1" and camera.addresses[-1] == (1,)
    address = "rtsp://me:secret@10.0.0.7:554/a/b?key=secret"
    source = open_source([address])
    assert isinstance(source, LiveFrames) and camera.addresses[-1][0] == address
    assert source.stem == "10_0_0_7_554_a_b" and "secret" not in source.title
    assert camera.addresses[-1][1] == cv2.CAP_FFMPEG
    camera.opened = False
    for given in (0, address):
        with pytest.raises(UserError, match="cannot be opened") as error:
            LiveFrames(given)
        assert "secret" not in str(error.value)
    for wrong in (-1, "garden", True, 1.5, "ftp://a"):
        with pytest.raises(UserError, match="must be the number of a camera"):
            LiveFrames(wrong)


def test_an_error_of_a_camera_reaches_the_caller(camera: type[Camera]):
    def read(self: Camera) -> None:
        raise cv2.error("lost")

    camera.read = read
    source = LiveFrames(0)
    with pytest.raises(cv2.error, match="lost"):
        walk(source, Model(), [], depths=depths_of(source))


def test_what_is_written_of_a_camera(camera: type[Camera], monkeypatch, tmp_path: Path):
    """A line for each frame as it comes; a video that is as long as what it shows."""
    lines = JsonLines(tmp_path / "preds" / "a.jsonl")
    for name in (0, 4):
        lines.add(Image(name, np.zeros(1), name / 10), name, Found(dict(labels=[name])))
    text = (tmp_path / "preds" / "a.jsonl").read_text()  # while it is open
    assert text.splitlines()[1] == '{"frame": 4, "seconds": 0.4, "labels": [4]}'
    lines.close(True)
    source = LiveFrames(0)
    source.fps = 10.0
    film = film_of(source, tmp_path)
    assert film.path == tmp_path / "camera_0.mp4"
    for seconds, value in ((0.0, 0), (0.1, 80), (1.0, 160), (1.02, 240)):
        film.write(np.full((64, 64, 3), value, np.uint8), seconds)
    film.close(True)
    monkeypatch.undo()
    found = [int(frame.mean()) for frame in VideoFrames(film.path)]
    assert len(found) == 12
    assert np.abs(np.array(found) - [0, *[80] * 9, 160, 240]).max() < 12
    with pytest.raises(UserError, match="must end in"):
        film_of(source, tmp_path, Path("a.gif"))


def test_a_video_of_frames_in_turn(tmp_path: Path):
    """Each frame has its number and time."""
    film = VideoSink(tmp_path / "a.avi", 5.0)
    for value in (0, 50, 100):
        film.write(np.full((32, 32, 3), value, np.uint8), 7.0)
    film.close(True)
    frames = list(VideoFrames(film.path).frames())
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.2, 0.4])
