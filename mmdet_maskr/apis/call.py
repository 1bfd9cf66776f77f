"""What one call of an inferencer wants, and what it has done so far."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmdet_maskr.apis.coco_json import CocoResults
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.video import CODECS, VideoFrames, VideoSink

# How numpy, OpenCV and torch say it.
_NO_MEMORY = re.compile(
    r"Insufficient memory|can't allocate memory|DefaultCPUAllocator|out of memory|"
    r"OutOfMemoryError|Unable to allocate"
)


@dataclass
class Call:
    """What one call of the inferencer wants, and what it has done so far."""

    score_thr: list[float]
    drawn_thr: list[float]
    outputs: tuple[str, ...]
    folder: Path  # of downloads
    single: bool  # the first image that cannot be read ends the call
    coco: CocoResults | None = None
    sink: VideoSink | None = None
    is_video: bool = False
    images: list[str | int] = field(default_factory=list)  # those loaded, in their order
    failed: dict[str, str] = field(default_factory=dict)
    done: int = 0
    kept: list[bool] | None = None  # of the batch, which images the model had memory for

    def fail_for_memory(self, index: int, error: Exception) -> None:
        """Note that there was not enough memory for the image of this place in ``images``.

        Raises:
            UserError: it is the only one.
        """
        image = self.images.pop(index)
        self.fail(str(image), NO_MEMORY, error)

    def fail(self, image: str, reason: str, error: Exception) -> None:
        """Note an image that cannot be read.

        Raises:
            UserError: it is the only one.
        """
        if self.single:
            known = isinstance(error, UserError)
            text = reason if known else unreadable(image, reason)
            text = f"image {image}: {reason}." if reason == NO_MEMORY else text
            raise UserError(text) from error
        self.failed[image] = reason


NO_MEMORY = "there is not enough memory to detect on an image of its size: give a smaller one"


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that there is not enough memory."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)[:2000]))


class Counted:
    """An iterable of a known length, as rich's progress bars ask for it."""

    def __init__(self, values: Iterable, count: int) -> None:
        self._values, self._count = values, count

    def __iter__(self) -> Iterator:
        return iter(self._values)

    def __length_hint__(self) -> int:
        return self._count


def sink_of(frames: VideoFrames, out_dir: Path) -> VideoSink:
    """Where the pictures of a video go: a file of its name in ``out_dir/vis``."""
    suffix = frames.path.suffix.lower()
    name = frames.path.stem + (suffix if suffix in CODECS else ".mp4")
    return VideoSink(out_dir / "vis" / name, frames.fps)


def unreadable(image: str, reason: str) -> str:
    """What to say of an image file that cannot be read."""
    return (
        f"image {image} cannot be read: {reason}. Formats that are: JPEG, PNG, BMP, TIFF, WebP, "
        "PNM; convert others (HEIC, RAW, PDF, ...), and look at the file in a viewer."
    )
