"""Videos as images one after the other, and pictures of them as a video again."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmdet_maskr.atomic_files import give_name, partial_of
from mmdet_maskr.errors import UserError

MOST_LIVE_FPS = 30.0  # of what is written of a camera
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # what OpenCV's own builds can write


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: its place in the video, from 0, with those that were left out.
        seconds: since the first one.
        pixels: (H, W, 3), uint8 in BGR order.
    """

    number: int
    seconds: float
    pixels: np.ndarray


class Video:
    """What gives frames.

    Attributes:
        stem: the name of files about it, without a suffix.
        fps: frames a second.
        live: whether it goes on while nobody looks: frames are left out where they come too fast.
    """

    stem: str
    fps: float
    live = False

    def frames(self) -> Generator[Frame, None, None]:
        """The frames; closing the generator lets go of file or camera."""
        raise NotImplementedError

    def __len__(self) -> int:
        """How many frames there are; 0 where that is not known."""
        return 0


class VideoFrames(Video):
    """The frames of a video file, read while they are iterated over.

    Args:
        path: of the file.

    Raises:
        UserError: it cannot be read as a video.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.stem = self.path.stem
        self._open().release()

    def _open(self) -> cv2.VideoCapture:
        reader = cv2.VideoCapture(str(self.path))
        width, height, count = (
            int(reader.get(kind))
            for kind in (
                cv2.CAP_PROP_FRAME_WIDTH,
                cv2.CAP_PROP_FRAME_HEIGHT,
                cv2.CAP_PROP_FRAME_COUNT,
            )
        )
        if not reader.isOpened() or width <= 0:
            raise UserError(
                f"the video {self.path} cannot be read: it is damaged, or this OpenCV cannot "
                "decode its format. Convert it with `ffmpeg -i IN out.mp4`."
            )
        fps = reader.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else 25.0  # some files do not say
        self.size = (width, height)
        self._length = max(0, count)
        return reader

    def __len__(self) -> int:
        """How many frames the file's head says there are."""
        return self._length

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames (H, W, 3), uint8 in BGR order."""
        return (frame.pixels for frame in self.frames())

    def frames(self) -> Generator[Frame, None, None]:
        reader, count = self._open(), 0
        try:
            while (pixels := reader.read()[1]) is not None:
                yield Frame(count, count / self.fps, pixels)
                count += 1
        finally:
            reader.release()
        if count < len(self):
            print(f"{self.path} ended after {count} of {len(self)} frames.")


class VideoSink:
    """Writes pictures as a video; the file has its name only once it is whole.

    Args:
        path: of the file, ending in .mp4 or .avi.
        fps: frames a second.
        keeps_time: whether pictures come at uneven times, and are repeated until the next one's.
    """

    def __init__(self, path: Path, fps: float, keeps_time: bool = False) -> None:
        self.path = path
        self.fps = fps
        self.keeps_time = keeps_time
        self._partial = Path(f"{partial_of(path)}{path.suffix}")  # OpenCV's format is by suffix
        self._writer: cv2.VideoWriter | None = None
        self._count = 0
        self._last: np.ndarray | None = None

    def write(self, rgb: np.ndarray, seconds: float | None = None) -> None:
        """Append a picture.

        Args:
            rgb: (H, W, 3), uint8 RGB; all have the size of the first.
            seconds: since the first picture, with ``keeps_time``; the last one is repeated until
                then, so that the video is as fast as what it shows.

        Raises:
            UserError: OpenCV cannot write such a video.
        """
        if self._writer is None:
            self._writer = self._open(rgb.shape[1::-1])
        frame = np.ascontiguousarray(rgb[..., ::-1])
        if self.keeps_time and seconds is not None:
            self._repeat(round(seconds * self.fps))
            self._last = frame
        self._writer.write(frame)
        self._count += 1

    def _repeat(self, count: int) -> None:
        """Append the last picture until there are ``count``."""
        while self._last is not None and self._writer is not None and self._count < count:
            self._writer.write(self._last)
            self._count += 1

    def close(self, whole: bool) -> None:
        """End the file, and give it its name if it is whole; what is not is removed."""
        if self._writer is None:
            return
        self._writer.release()
        if whole:
            give_name(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        name = CODECS[self.path.suffix]
        codec = cv2.VideoWriter.fourcc(*name)
        writer = cv2.VideoWriter(str(self._partial), codec, self.fps, size)
        if not writer.isOpened():
            raise UserError(
                f"the video {self.path} cannot be written: this OpenCV has no encoder {name}. Pass "
                "no_save_vis=True, or install opencv-python."
            )
        return writer


def film_of(video: Video, folder: Path, file: Path | None = None) -> VideoSink:
    """Where the pictures of a video go.

    Args:
        video: whose frames are drawn on.
        folder: a file of the video's name in it.
        file: that file instead.

    Raises:
        UserError: ``file`` ends in another suffix than those of :data:`CODECS`.
    """
    if file is None:
        suffix = video.path.suffix.lower() if isinstance(video, VideoFrames) else ""
        file = folder / (video.stem + (suffix if suffix in CODECS else ".mp4"))
    if file.suffix not in CODECS:
        raise UserError(f"the video {file} cannot be written: its name must end in .mp4 or .avi.")
    if video.live:
        return VideoSink(file, min(video.fps, MOST_LIVE_FPS), keeps_time=True)
    return VideoSink(file, video.fps)
