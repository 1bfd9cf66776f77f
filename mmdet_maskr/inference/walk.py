"""The main loop of every inferencer: images from a source, through a model, to sinks.

A broken image among many is left out and reported at the end, as is one that there is not enough
memory for; one alone ends the walk. Frames of a video are read and given to the sinks while the
model detects on others, see :mod:`.overlap`; photos, which may be large, are done in turn.
"""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.inputs import fetch, is_url
from mmdet_maskr.inference.overlap import IN_TURN, Depths, ahead, behind
from mmdet_maskr.inference.video import Video
from mmdet_maskr.progress import bar

SHOWN_FAILURES = 20
NO_MEMORY = "there is not enough memory to detect on an image of its size: give a smaller one"
# How numpy, OpenCV and torch say it.
_NO_MEMORY = re.compile(
    r"Insufficient memory|can't allocate memory|DefaultCPUAllocator|out of memory|"
    r"OutOfMemoryError|Unable to allocate"
)
Source = Sequence[str | np.ndarray] | Video


class Image(NamedTuple):
    """An image on its way.

    Attributes:
        name: path or URL; of an array or frame, its place in the source.
        content: path of the file, or the array (H, W, C).
        seconds: of a frame, since the video's first.
    """

    name: str | int
    content: str | np.ndarray
    seconds: float | None = None


class Found(Protocol):
    """What a model found on an image."""

    @property
    def lists(self) -> dict[str, Any]:
        """``labels``, ``scores``, ``bboxes`` ... as JSON can hold them."""


class Model(Protocol):
    """What takes images."""

    def prepare(self, image: Image) -> Any:
        """What the model is given of an image.

        Raises:
            Unreadable: the image's file is no image.
        """

    def detect(self, prepared: list[Any]) -> Sequence[Found]:
        """What is found on several images."""


class Sink:
    """What takes the findings.

    Attributes:
        place: that it writes to, for messages.
    """

    place: Path | None = None

    def add(self, image: Image, number: int, found: Any) -> None:
        """Take what was found on the next image; ``number`` counts those of all walks."""
        raise NotImplementedError

    def close(self, whole: bool) -> None:
        """End; ``whole`` is False where the walk has failed, also after the end."""


class Unreadable(UserError):
    """An image's file that is none.

    Args:
        image: path or URL.
        reason: why, as the end of a sentence.
    """

    def __init__(self, image: str, reason: str) -> None:
        super().__init__(
            f"image {image} cannot be read: {reason}. Formats that are: JPEG, PNG, BMP, TIFF, "
            "WebP, PNM; convert others (HEIC, RAW, PDF, ...), and look at the file in a viewer."
        )
        self.reason = reason


@dataclass
class Counter:
    """How many images all walks of an inferencer have done; files of arrays are named by it."""

    done: int = 0


@dataclass
class Report:
    """What a walk has done.

    Attributes:
        images: name of each image that was read, in order.
        failed: why an image could not be, by name.
        stopped: whether Ctrl-C has ended it.
    """

    images: list[str | int] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    def say(self) -> None:
        """Print what failed, if anything."""
        if not self.failed:
            return
        listed = list(self.failed.items())[:SHOWN_FAILURES]
        lines = [f"\n  {name}: {reason}" for name, reason in listed]
        more = len(self.failed) - len(listed)
        lines += [f"\n  ... and {more} more, in the result's 'failed'"] if more else []
        count = len(self.images) + len(self.failed)
        print(
            f"{len(self.failed)} of {count} images could not be read and were skipped; "
            f"all others are done:{''.join(lines)}"
        )


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that there is not enough memory."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)[:2000]))


def walk(
    source: Source,
    model: Model,
    sinks: Sequence[Sink],
    batch_size: int = 1,
    counter: Counter | None = None,
    show_progress: bool = False,
    depths: Depths = IN_TURN,
) -> Report:
    """Lead images through a model to sinks.

    Ctrl-C on a video ends it early and whole: sinks take the frames that the model is done with,
    and end their files. That is how a camera ends; of a file KeyboardInterrupt is raised then.

    Args:
        source: what :func:`.inputs.open_source` gives.
        model: takes and detects.
        sinks: take what is found, in the order of the images.
        batch_size: how many images the model sees at once.
        counter: goes on counting; None begins at 0.
        show_progress: show a bar.
        depths: how many images may wait on either side of the model, with threads for what comes
            before and after it.

    Raises:
        UserError: the only image, or each of several, cannot be read; a sink cannot write.
    """
    video = source if isinstance(source, Video) else None
    steps = _Steps(model, video is None and len(source) == 1)
    report = steps.report
    deliver = partial(steps.deliver, sinks=sinks, counter=Counter() if counter is None else counter)
    interrupt: KeyboardInterrupt | None = None
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mmdet_maskr_") as folder,
            bar("Inference", len(source) or None, show_progress) as advance,
            behind(deliver, depths.behind) as take,
            ahead(steps.prepare(source, Path(folder)), depths.ahead) as prepared,
        ):
            try:
                while batch := list(itertools.islice(prepared, min(batch_size, sys.maxsize))):
                    count = len(batch)
                    steps.finish(batch, take)
                    advance(count)
            except KeyboardInterrupt as error:
                if video is None:
                    raise
                report.stopped, interrupt = True, error
        if not report.images and report.failed:
            name, reason = next(iter(report.failed.items()))
            raise UserError(f"none of the {len(source)} images can be read; {name}: {reason}.")
        for sink in sinks:
            _write(sink, partial(sink.close, True))
    except BaseException:
        for sink in sinks:
            sink.close(False)
        raise
    report.say()
    if video is not None and interrupt is not None and not video.live:
        raise interrupt
    return report


def _write(sink: Sink, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        place = error.filename or sink.place
        raise UserError(f"{place} cannot be written: {error.strerror or error}.") from error


def _entries(source: Source) -> Generator[Image, None, None]:
    """The images by name, before URLs are fetched."""
    if isinstance(source, Video):
        with closing(source.frames()) as frames:
            for frame in frames:
                yield Image(frame.number, frame.pixels, frame.seconds)
                del frame  # not to be held while the next one is read
        return
    for index, given in enumerate(source):
        yield Image(given if isinstance(given, str) else index, given)


class _Steps:
    """The steps of a walk at which an image may be left out."""

    def __init__(self, model: Model, single: bool) -> None:
        self.report = Report()
        self._model = model
        self._single = single

    def prepare(self, source: Source, folder: Path) -> Generator[tuple[Image, Any], None, None]:
        """Images with what the model is given of them."""
        with closing(_entries(source)) as entries:
            yield from self._prepared(entries, folder)

    def _prepared(
        self, entries: Iterator[Image], folder: Path
    ) -> Generator[tuple[Image, Any], None, None]:
        for index, image in enumerate(entries):
            given = image.content
            try:
                if is_url(given):
                    inside = folder / str(index)
                    inside.mkdir()
                    image = image._replace(content=str(fetch(given, inside)))
            except UserError as error:
                self._leave_out(image.name, str(error), error, error)
                continue
            try:
                data = self._model.prepare(image)
            except Unreadable as error:
                said = Unreadable(str(image.name), error.reason)
                self._leave_out(image.name, error.reason, said, error)
                continue
            except Exception as error:
                self._without_memory(image, error)
                continue
            del given
            yield image, data
            del image, data  # not to be held while the next one is read

    def detect(self, batch: list[tuple[Image, Any]]) -> Iterator[tuple[Image, Any]]:
        """Images with what is found on them; one by one where memory lacks for all of them."""
        try:
            found = self._model.detect([data for _, data in batch])
        except Unreadable as error:  # a part of a file that is read by and by
            if len(batch) > 1:
                raise
            name = batch[0][0].name
            self._leave_out(name, error.reason, Unreadable(str(name), error.reason), error)
            return
        except Exception as error:
            if len(batch) == 1:
                self._without_memory(batch[0][0], error)
                return
            if not is_out_of_memory(error):
                raise
        else:
            yield from zip((image for image, _ in batch), found, strict=True)
            return
        for one in batch:  # out of the handler, whose error holds what takes the memory
            yield from self.detect([one])

    def finish(
        self, batch: list[tuple[Image, Any]], take: Callable[[tuple[Image, Any]], None]
    ) -> None:
        """Detect on a batch, and empty it: it is not to be held while the next one is read."""
        for image, found in self.detect(batch):
            take((image, found))
        batch.clear()

    def deliver(self, item: tuple[Image, Any], sinks: Sequence[Sink], counter: Counter) -> None:
        """Give what was found on an image to the sinks."""
        image, found = item
        self.report.images.append(image.name)
        for sink in sinks:
            _write(sink, partial(sink.add, image, counter.done, found))
        counter.done += 1
        if is_url(image.name):  # the file has been downloaded
            shutil.rmtree(Path(str(image.content)).parent, ignore_errors=True)

    def _without_memory(self, image: Image, error: Exception) -> None:
        if not is_out_of_memory(error):
            raise error
        error = error.with_traceback(None)  # its frames hold what takes the memory
        said = UserError(f"image {image.name}: {NO_MEMORY}.")
        self._leave_out(image.name, NO_MEMORY, said, error)

    def _leave_out(self, name: str | int, reason: str, said: UserError, error: Exception) -> None:
        if not self._single:
            self.report.failed[str(name)] = reason
        elif said is error:
            raise said
        else:
            raise said from error
