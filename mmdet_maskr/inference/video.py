"""Videos as images one after the other, and pictures of them as a video again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mmdet_maskr.atomic_files import give_name, partial_of
from mmdet_maskr.errors import UserError

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # what OpenCV's own builds can write


class VideoFrames:
    """The frames of a video file, read while they are iterated over.

    Args:
        path: of the file.

    Raises:
        UserError: it cannot be read as a video.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._open()

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
                f"the video {self.path} cannot be read: it is damaged, or of a kind that this "
                "OpenCV cannot decode. `ffmpeg -i IN out.mp4` writes one that it can."
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
        reader, count = self._open(), 0
        while (frame := reader.read()[1]) is not None:
            count += 1
            yield frame
        if count < len(self):
            print(f"{self.path} ends after {count} of {len(self)} frames.")


class VideoSink:
    """Writes pictures as a video; the file has its name only once it is whole.

    Args:
        path: of the file, ending in .mp4 or .avi.
        fps: frames a second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.fps = fps
        self._partial = Path(f"{partial_of(path)}{path.suffix}")  # OpenCV's format is by suffix
        self._writer: cv2.VideoWriter | None = None

    def write(self, rgb: np.ndarray) -> None:
        """Append a picture (H, W, 3), uint8 RGB; all have the size of the first.

        Raises:
            UserError: OpenCV cannot write such a video.
        """
        if self._writer is None:
            self._writer = self._open(rgb.shape[1::-1])
        self._writer.write(np.ascontiguousarray(rgb[..., ::-1]))

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


def film_of(frames: VideoFrames, folder: Path) -> VideoSink:
    """Where the pictures of a video go: a file of its name in a folder."""
    suffix = frames.path.suffix.lower()
    name = frames.path.stem + (suffix if suffix in CODECS else ".mp4")
    return VideoSink(folder / name, frames.fps)
