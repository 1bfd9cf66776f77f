"""The inputs of an inferencer: files, folders, globs, URLs, arrays, and lists of these."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypeGuard
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import numpy as np

from mmdet_maskr.downloads import check_address, download
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.live import LiveFrames, is_stream
from mmdet_maskr.inference.video import Video, VideoFrames

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
# Of an image that is fetched:
MOST_BYTES = 256 << 20
MOST_PIXELS = 1 << 27
SECONDS = 120.0

ImageInput = str | Path | np.ndarray


def expand(
    inputs: ImageInput | Sequence[ImageInput], channels: int = 3, as_stored: bool = False
) -> list[str | np.ndarray]:
    """The single images of what an inferencer was called with.

    A folder gives its images (not those of folders in it), a pattern with ``*``, ``?`` or ``[]``
    what it matches, each in the order of their names; ``**`` matches folders too. ``file://`` URLs
    become paths; other URLs are fetched later, one by one.

    Args:
        inputs: path, folder, pattern, URL, array (H, W) or (H, W, 3) uint8 in BGR order, or a list
            of these.
        channels: of the model; arrays have as many, or one.
        as_stored: the model takes images with the bits of their files, so that arrays have any
            type of number, and always as many channels.

    Returns:
        Paths and URLs as texts, and arrays.

    Raises:
        UserError: nothing of this name; a folder or pattern without images; a URL of another kind;
            an array of another shape or type; anything else.
    """
    entries = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    found: list[str | np.ndarray] = []
    for i, entry in enumerate(entries):
        if isinstance(entry, str) and not entry.strip():  # Path would take it for the folder '.'
            raise UserError(
                f"image {i} is an empty string: it must be a path, folder, pattern or URL."
            )
        try:
            found.extend(_expand_one(entry, i, channels, as_stored))
        except (OSError, ValueError, RuntimeError, re.error) as error:  # odd names of files
            if isinstance(error, UserError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"image {i}, {str(entry)[:100]!r}, cannot be read: {reason}."
            ) from error
    if not found:
        raise UserError("there are no images: the list is empty.")
    return found


def open_source(
    inputs: ImageInput | Sequence[ImageInput] | Video, channels: int = 3, as_stored: bool = False
) -> list[str | np.ndarray] | Video:
    """The images of what an inferencer was called with, or the frames of a video.

    Args:
        inputs: as :func:`expand` takes them, the path of a video, the address of a stream
            (rtsp://...), or a video that is open.
        channels: of the model.
        as_stored: as for :func:`expand`.

    Raises:
        UserError: as from :func:`expand`; a video among others, or that cannot be read.
    """
    if isinstance(inputs, Video):
        return inputs
    alone = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) == 1 else inputs
    if is_stream(alone):
        return LiveFrames(alone)
    images = expand(inputs, channels, as_stored)
    videos = [image for image in images if is_video(image)]
    if not videos:
        return images
    if len(images) > 1 or is_url(videos[0]):
        raise UserError(
            f"{videos[0]} is a video: pass one video file at a time, without images. "
            "Open a stream with --camera or LiveFrames(ADDRESS)."
        )
    return VideoFrames(videos[0])


def is_url(image: object) -> TypeGuard[str]:
    """Whether it has to be fetched."""
    return isinstance(image, str) and image.startswith(("http://", "https://"))


def is_video(image: object) -> TypeGuard[str]:
    """Whether it is a path with the suffix of a video."""
    return isinstance(image, str) and image.lower().endswith(VIDEO_SUFFIXES)


def file_name(path_or_url: str) -> str:
    """The last part of a path, or of a URL without its query."""
    if is_url(path_or_url):
        return PurePosixPath(unquote(urlsplit(path_or_url).path)).name or "image"
    return Path(path_or_url).name


def check_distinct(names: Sequence[str], purpose: str) -> None:
    """Check that no two images have the same name.

    Args:
        names: of the images.
        purpose: what names are needed for.

    Raises:
        UserError: two have.
    """
    name, count = next(iter(Counter(names).most_common(1)), ("", 0))
    if count > 1:
        raise UserError(
            f"{count} images are named {name}, and {purpose}. Run once for each folder, "
            "or give the files different names."
        )


def check_names(images: Sequence[str | np.ndarray], purpose: str, stems: bool = False) -> None:
    """Check that no two images have the same file name.

    Args:
        images: what :func:`expand` gives; arrays have no names.
        purpose: what names are needed for.
        stems: compare names without their suffixes.

    Raises:
        UserError: two have.
    """
    names = [file_name(image) for image in images if isinstance(image, str)]
    check_distinct([Path(name).stem for name in names] if stems else names, purpose)


def fetch(url: str, folder: Path) -> Path:
    """Download an image; the file's name is the URL's, with the suffix of an image.

    Args:
        url: http or https.
        folder: where to; there is no file of this name in it.

    Returns:
        The file.

    Raises:
        UserError: it cannot be downloaded, in time and of a size that is sensible.
    """
    check_address(url)
    name = file_name(url)
    # pictures of it are written under its name, for which the suffix has to be an image's
    path = folder / (name if Path(name).suffix.lower() in SUFFIXES else f"{name}.jpg")
    if len(name.encode("utf-8", "replace")) > 150:
        raise UserError(f"{url[:200]} cannot be downloaded: its name is not a valid file name.")
    try:
        download(url, path, MOST_BYTES, SECONDS)
    except OSError as error:  # the file, such as a name that is too long
        raise UserError(f"{url} cannot be saved in {folder}: {error.strerror}.") from error
    _check_pixels(url, path)
    return path


def _check_pixels(url: str, path: Path) -> None:
    """Refuse images that are small as files, and take all memory."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception:  # the decoder will say
        return
    if width * height > MOST_PIXELS:
        raise UserError(
            f"{url} is an image of {width} x {height} pixels, too large for an automatic "
            "download: download the file yourself and pass its path."
        )


def _expand_one(
    entry: object, index: int, channels: int, as_stored: bool
) -> Sequence[str | np.ndarray]:
    if isinstance(entry, np.ndarray):
        return [as_model_takes(entry, channels, index, as_stored)]
    if isinstance(entry, Path):
        entry = str(entry)
    if not isinstance(entry, str):
        raise UserError(
            f"image {index} is of type {type(entry).__name__}: it must be a path, folder, pattern, "
            "URL, or an array (H, W, 3) in BGR."
        )
    if is_url(entry):
        check_address(entry)
        return [entry]
    if "://" in entry:
        entry = _path_of_url(entry)
    path = Path(entry).expanduser()
    if path.is_file():
        return [str(path)]
    if path.is_dir():
        return _images_in(path)
    if glob.has_magic(entry):
        return _matches(str(path))
    raise UserError(
        f"there is no image {path.absolute()}: it is neither a file, a folder nor a pattern."
    )


def _path_of_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise UserError(
            f"{url} cannot be downloaded: URLs must begin with http://, https:// and file:///."
        )
    return url2pathname(parts.path)


def _images_in(folder: Path) -> list[str]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    images = [str(path) for path in files if path.suffix.lower() in SUFFIXES]
    others = sorted({path.suffix.lower() or path.name for path in files} - set(SUFFIXES))
    if not images:
        others_found = f" It has files of other kinds ({', '.join(others[:8])})." if others else ""
        raise UserError(
            f"there are no images in the folder {folder}: their names must end in "
            f"{' '.join(SUFFIXES)}.{others_found}"
        )
    if others:
        count = len(files) - len(images)
        print(f"{folder}: {count} files are not images and were skipped ({', '.join(others[:8])}).")
    return images


def _matches(pattern: str) -> list[str]:
    files = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())
    if not files:
        raise UserError(
            f"no file matches the pattern {pattern} (in {Path.cwd()}). '**/' matches all "
            "subfolders."
        )
    return files


def as_model_takes(
    image: np.ndarray, channels: int, index: int = 0, as_stored: bool = False
) -> np.ndarray:
    """An array with the channels that the model has; a gray one in three equal ones for color.

    Args:
        image: (H, W) or (H, W, C).
        channels: of the model.
        index: of the image, for messages.
        as_stored: as for :func:`expand`.

    Raises:
        UserError: another number of channels; other than uint8 where files are read with 8 bits.
    """
    given = image[..., None] if image.ndim == 2 else image
    accepted = (channels,) if as_stored else (1, channels)
    if given.ndim != 3 or 0 in given.shape or given.shape[2] not in accepted:
        bands = f"(H, W, {channels})"
        if channels == 1:
            bands = "(H, W) or (H, W, 1)"
        elif channels == 3 and not as_stored:
            bands = "(H, W) or (H, W, 3), in BGR"
        raise UserError(f"image {index} is an array of shape {image.shape}: it must be {bands}.")
    if not as_stored and given.dtype != np.uint8:
        raise UserError(
            f"image {index} is an array of {image.dtype}: it must be uint8, from 0 to 255, since "
            "this model reads files with 8 bits (with LoadBands, models keep all of them)."
        )
    if given.shape[2] == channels:
        return given
    return np.repeat(given, channels, axis=2)
