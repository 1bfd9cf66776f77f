"""What an inferencer is called with: files, folders, globs, URLs, arrays, lists of these."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import TypeGuard
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, url2pathname, urlopen

import cv2
import mmcv
import numpy as np
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmdet.datasets.transforms import InferencerLoader
from mmengine.logging import print_log

from mmdet_maskr.deploy.images import check_distinct
from mmdet_maskr.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
TIMEOUT = 30  # seconds that a server may be silent

ImageInput = str | Path | np.ndarray


def expand(inputs: ImageInput | Sequence[ImageInput]) -> list[str | np.ndarray]:
    """The single images of what an inferencer was called with.

    A folder gives its images (not those of folders in it), a pattern with ``*``, ``?`` or ``[]``
    what it matches, each in the order of their names; ``**`` matches folders too. ``file://`` URLs
    become paths; other URLs are fetched later, one by one.

    Args:
        inputs: path, folder, pattern, URL, array (H, W, 3) uint8 in BGR order, or a list of these.

    Returns:
        Paths and URLs as texts, and arrays.

    Raises:
        UserError: nothing of this name; a folder or pattern without images; a URL of another kind;
            an array of another shape or type; anything else.
    """
    entries = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    found = [image for i, entry in enumerate(entries) for image in _expand_one(entry, i)]
    if not found:
        raise UserError("there are no images: the list is empty.")
    return found


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
        UserError: it cannot be fetched.
    """
    name = file_name(url)
    # pictures of it are written under its name, for which the suffix has to be an image's
    path = folder / (name if Path(name).suffix.lower() in IMG_EXTENSIONS else f"{name}.jpg")
    try:
        # some servers refuse Python's own name
        with urlopen(Request(url, headers={"User-Agent": "mmdet_maskr"}), timeout=TIMEOUT) as file:
            path.write_bytes(file.read())
    except URLError as error:  # HTTPError, with the server's answer, is one
        reason = getattr(error, "reason", error)
        code = f"HTTP {error.code}, " if hasattr(error, "code") else ""
        raise UserError(_unfetched(url, f"{code}{reason}")) from error
    except (OSError, ValueError, HTTPException) as error:  # broken connections, odd ports
        raise UserError(_unfetched(url, str(error) or type(error).__name__)) from error
    return path


def as_seen(image: str | np.ndarray, loader: InferencerLoader, folder: Path) -> str | np.ndarray:
    """A file that is drawn as the model saw it.

    Pictures are drawn on the upright image. A model whose pipeline disregards EXIF's orientation
    has seen, and found its boxes on, another one.

    Args:
        image: path; an array (H, W, 3) is given back.
        loader: the pipeline's InferencerLoader.
        folder: where a copy of the same name is written, if it must be.
    """
    options = loader.from_file
    backend = options.imdecode_backend or "cv2"
    follows = options.color_type in ("color", "grayscale") and backend in ("cv2", "pillow")
    if follows or not isinstance(image, str):
        return image
    pixels = mmcv.imread(image, "color_ignore_orientation", backend="cv2")
    content = cv2.imencode(".png", pixels)[1]
    copy = Path(tempfile.mkdtemp(dir=folder)) / Path(image).name  # it is read by its content
    copy.write_bytes(content.tobytes())
    return str(copy)


def _unfetched(url: str, reason: str) -> str:
    return (
        f"{url} cannot be fetched ({reason}): look at it in a browser, or download the file and "
        "give its path."
    )


def _expand_one(entry: object, index: int) -> Sequence[str | np.ndarray]:
    if isinstance(entry, np.ndarray):
        _check_array(entry, index)
        return [entry]
    if isinstance(entry, Path):
        entry = str(entry)
    if not isinstance(entry, str):
        raise UserError(
            f"image {index} is of type {type(entry).__name__}: it must be a path, folder, pattern, "
            "URL, or an array (H, W, 3) in BGR."
        )
    if is_url(entry):
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
    raise UserError(f"there is no image {path.absolute()}: it is neither file, folder nor pattern.")


def _path_of_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise UserError(f"{url} cannot be fetched: URLs are http://, https:// and file:///.")
    return url2pathname(parts.path)


def _images_in(folder: Path) -> list[str]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    images = [str(path) for path in files if path.suffix.lower() in IMG_EXTENSIONS]
    others = sorted({path.suffix.lower() or path.name for path in files} - set(IMG_EXTENSIONS))
    if not images:
        beside = f" It has files of other kinds ({', '.join(others[:8])})." if others else ""
        raise UserError(
            f"there are no images in the folder {folder}: their names must end in "
            f"{' '.join(IMG_EXTENSIONS)}.{beside}"
        )
    if others:
        count = len(files) - len(images)
        print_log(f"{folder}: {count} files are no images and left out ({', '.join(others[:8])}).")
    return images


def _matches(pattern: str) -> list[str]:
    files = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())
    if not files:
        raise UserError(
            f"no file matches the pattern {pattern} (in {Path.cwd()}); '**/' stands for all "
            "folders below."
        )
    return files


def _check_array(image: np.ndarray, index: int) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(
            f"image {index} is an array of shape {image.shape}: it must be (H, W, 3), in BGR."
        )
    if image.dtype != np.uint8:
        raise UserError(
            f"image {index} is an array of {image.dtype}: it must be uint8, from 0 to 255."
        )
