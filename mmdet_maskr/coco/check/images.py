"""Checks of image files against their entries in the annotation file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from mmdet_maskr.bands import BandStatistics, read_bands
from mmdet_maskr.coco.check.annotations import check_image
from mmdet_maskr.coco.check.dataset import Found, Progress
from mmdet_maskr.coco.check.fixing import IMAGE_ENTRY
from mmdet_maskr.coco.check.problems import Problem
from mmdet_maskr.errors import UserError

_ORIENTATION = 0x0112
_ALPHA = ("LA", "PA", "RGBA", "RGBa", "La")


def check_files(
    found: Found,
    folder: Path,
    progress: Progress = lambda done, total: None,
    bands: BandStatistics | None = None,
) -> None:
    """Decode each image of the file completely and add problems to ``found``.

    Args:
        found: the list of problems to extend.
        folder: folder of the images.
        progress: called with the number of images done and their total.
        bands: statistics to update; images are then loaded as by LoadBands. None for color images.
    """
    entries = [
        (index, image)
        for index, image in enumerate(found.content["images"])
        if not any(problem.is_error for problem in check_image(image, index))
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(lambda entry: list(check_file(entry[1], folder, bands)), entries)
        for done, ((index, _), problems) in enumerate(zip(entries, jobs, strict=True), start=1):
            found.problems += [(IMAGE_ENTRY, index, problem) for problem in problems]
            progress(done, len(entries))


def check_file(image: dict, folder: Path, bands: BandStatistics | None = None) -> Iterator[Problem]:
    """Problems of the file of a valid image entry (see :func:`check_image`)."""
    where = f"image {image['id']}"
    path = folder / image["file_name"]
    if not path.is_file():
        yield Problem("file-missing", where, image["file_name"])
        return
    if bands is not None:
        yield from _check_bands(image, path, where, bands)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata and of very large images
            with Image.open(path) as opened:
                frames, mode = getattr(opened, "n_frames", 1), opened.mode
                opened.load()
                size = opened.size
                orientation = opened.getexif().get(_ORIENTATION, 1)
                transparent = "transparency" in opened.info
    except Exception as error:  # Pillow's decoders raise errors of many types
        yield Problem("file-unreadable", where, f"{image['file_name']}: {str(error)[:80]}")
        return
    if orientation in (5, 6, 7, 8):
        size = size[::-1]
    yield from _check_size(image, size, where)
    if orientation not in (0, 1):
        yield Problem("exif-rotated", where, image["file_name"])
    if frames > 1:
        yield Problem("animated", where, image["file_name"])
    if mode.startswith("I") or mode == "F":
        yield Problem("16-bit", where, image["file_name"])
    elif mode in ("L", "1"):
        yield Problem("grayscale", where, image["file_name"])
    elif mode == "CMYK":
        yield Problem("cmyk", where, image["file_name"])
    if mode in _ALPHA or transparent:
        yield Problem("alpha", where, image["file_name"])


def _check_size(image: dict, size: tuple[int, int], where: str) -> Iterator[Problem]:
    if size != (image["width"], image["height"]):
        expected = f"{image['width']} x {image['height']}"
        detail = f"{image['file_name']}: {size[0]} x {size[1]}, not {expected}"
        yield Problem("size-mismatch", where, detail)


def _check_bands(image: dict, path: Path, where: str, bands: BandStatistics) -> Iterator[Problem]:
    try:
        pixels = read_bands(path)
    except UserError as error:
        reason = str(error).removeprefix(f"image {path} ").removeprefix(f"{path}: ")
        yield Problem("file-unreadable", where, f"{image['file_name']}: {reason[:80]}")
        return
    yield from _check_size(image, (pixels.shape[1], pixels.shape[0]), where)
    bands.add(pixels, image["file_name"])
