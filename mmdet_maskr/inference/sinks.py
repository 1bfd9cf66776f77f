"""Outputs of an inferencer: lists in memory, JSON files, COCO results, the terminal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Protocol, TextIO

import cv2
import numpy as np

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.inference.inputs import check_names, file_name
from mmdet_maskr.inference.video import Video
from mmdet_maskr.inference.walk import Found, Image, Sink, Source


def stem_of(image: Image, number: int) -> str:
    """The name of files about an image, without a suffix: an array has its number."""
    return Path(file_name(image.name)).stem if isinstance(image.name, str) else f"{number:08d}"


class Collected(Sink):
    """Keeps the lists of every image, in ``results``."""

    def __init__(self) -> None:
        self.results: list[Any] = []

    def add(self, image: Image, number: int, found: Found) -> None:
        self.results.append(found.lists)


class Tally(Sink):
    """Counts detections by label, in ``labels``: what is kept of a camera, which has no end."""

    def __init__(self) -> None:
        self.labels: Counter[int] = Counter()

    def add(self, image: Image, number: int, found: Found) -> None:
        self.labels.update(found.lists.get("labels", ()))


class JsonFiles(Sink):
    """Writes ``NAME.json`` for every image; maps of pixels as ``NAME_KEY.png``.

    Args:
        folder: where to.
    """

    def __init__(self, folder: Path) -> None:
        self.place = self._folder = folder

    def add(self, image: Image, number: int, found: Found) -> None:
        name, lists = stem_of(image, number), found.lists
        for key in [key for key, value in lists.items() if isinstance(value, np.ndarray)]:
            path = self._folder / f"{name}_{key}.png"
            png = cv2.imencode(".png", lists.pop(key)[..., ::-1])[1]
            write_whole(path, png.tobytes(), durable=False)
            lists[f"{key}_path"] = str(path)
        write_whole(self._folder / f"{name}.json", json.dumps(lists), durable=False)


class JsonFile(Sink):
    """Writes the lists of all images as one file at the end.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.place = self._path = path
        self._lists: list[dict[str, Any]] = []

    def add(self, image: Image, number: int, found: Found) -> None:
        self._lists.append(found.lists)

    def close(self, whole: bool) -> None:
        if whole:
            write_whole(self._path, json.dumps(self._lists), durable=False)


class JsonLines(Sink):
    """Writes a line for each frame as it comes: its number, its time in seconds, and its lists.

    Args:
        path: of the file, which is there with the first frame.
    """

    def __init__(self, path: Path) -> None:
        self.place = self._path = path
        self._file: TextIO | None = None

    def add(self, image: Image, number: int, found: Found) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8", buffering=1)
        when = None if image.seconds is None else round(image.seconds, 3)
        self._file.write(json.dumps(dict(frame=image.name, seconds=when, **found.lists)) + "\n")

    def close(self, whole: bool) -> None:
        if self._file is not None:
            self._file.close()


def json_sink(source: Source, folder: Path) -> Sink:
    """A file in ``folder`` for each image, or one for all frames of a video.

    That of a file is a list; that of a camera has a line for each frame.

    Raises:
        UserError: two images would have the same file.
    """
    if isinstance(source, Video):
        if source.live:
            return JsonLines(folder / f"{source.stem}.jsonl")
        return JsonFile(folder / f"{source.stem}.json")
    check_names(source, "their files in out_dir would overwrite one another", stems=True)
    return JsonFiles(folder)


class Results(Protocol):
    """A collector of COCO's results."""

    path: Path

    def add(self, image: str | int, prediction: dict[str, list]) -> None:
        """Take the predictions of an image."""

    def write(self) -> None:
        """Write the file."""


class CocoFile(Sink):
    """Writes COCO's results at the end.

    Args:
        results: collects and writes them.
    """

    def __init__(self, results: Results) -> None:
        self.place = results.path
        self._results = results

    def add(self, image: Image, number: int, found: Found) -> None:
        self._results.add(image.name, found.lists)

    def close(self, whole: bool) -> None:
        if whole:
            self._results.write()


class Printed(Sink):
    """Prints the lists of every image."""

    def add(self, image: Image, number: int, found: Found) -> None:
        print(dict(predictions=[found.lists]))
