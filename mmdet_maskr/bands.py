"""Images of any number of bands with all their bits; with NumPy and OpenCV, and tifffile or
rasterio for the TIFFs that OpenCV cannot read.

Symbols: H x W the image, C bands.
"""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmdet_maskr.errors import UserError

KEPT = (np.uint8, np.uint16, np.float32)  # other numbers become float32
MOST_BANDS = 16
EIGHT_BITS = 255
_COLORS = {3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's BGR in the file's order


def read_bands(path: str | Path) -> np.ndarray:
    """(H, W, C) uint8, uint16 or float32, the bands in the file's order.

    Bands are the samples of a pixel, or the pages of a TIFF, as microscopes write them. A pyramid's
    smaller pages are left out. Nothing is scaled.

    Raises:
        UserError: the file is no image, or is cut off; its pages do not fit; it has more than
            :data:`MOST_BANDS` bands, or pixels that are no number.
    """
    try:
        image = _read(Path(path))
    except (MemoryError, UserError):
        raise
    except Exception as error:  # of the libraries, of many types
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"image {path} cannot be read: {reason}.") from error
    return checked(image, str(path))


def checked(image: np.ndarray, named: str) -> np.ndarray:
    """An image (H, W) or (H, W, C) with bands, of a type that is kept.

    Args:
        image: the image.
        named: what it is, for messages.

    Raises:
        UserError: more than :data:`MOST_BANDS` bands, or pixels that are no number.
    """
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or not 1 <= image.shape[2] <= MOST_BANDS or 0 in image.shape:
        raise UserError(
            f"{named} has the shape {image.shape}: it must be height, width and 1 to {MOST_BANDS} "
            "bands."
        )
    if image.dtype not in KEPT:
        image = image.astype(np.float32)
    if image.dtype == np.float32:
        bad = int(image.size - np.isfinite(image).sum())
        if bad:
            raise UserError(
                f"{named}: {bad} of {image.size} values are NaN or infinite. Fill them "
                "first, with the value for missing data."
            )
    return image


def check_range(dtype: object, mean: Sequence[float], named: str) -> None:
    """Refuse an image of 8 bits where the model has seen numbers that these cannot hold.

    Args:
        dtype: of the image, NumPy's or torch's.
        mean: of each band, in the numbers of the training images.
        named: what the image is, for messages.

    Raises:
        UserError: it is one.
    """
    if max(mean, default=0.0) > EIGHT_BITS and str(dtype).rpartition(".")[2] == "uint8":
        band = int(np.argmax(mean))
        raise UserError(
            f"image {named} has 8 bits, and band {band + 1} of the model's images has a mean of "
            f"{mean[band]:g}: give images in the numbers of the training images."
        )


class BandStatistics:
    """Mean and standard deviation of each band over images of one set; threads may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: tuple[str, int] | None = None  # an image and its bands
        self._pixels, self._types = 0, set[str]()
        self._mean = self._squares = self._low = self._high = np.zeros(0)

    def add(self, image: np.ndarray, named: str) -> None:
        """Take an image (H, W, C).

        Raises:
            UserError: it has other bands than those before.
        """
        values = image.reshape(-1, image.shape[2])
        count, mean = len(values), values.mean(0, dtype=np.float64)
        squares = values.var(0, dtype=np.float64) * count
        low, high = values.min(0).astype(np.float64), values.max(0).astype(np.float64)
        with self._lock:
            if self._first is None:
                self._first = (named, image.shape[2])
                self._mean, self._squares = np.zeros_like(mean), np.zeros_like(mean)
                self._low, self._high = low, high
            if self._first[1] != image.shape[2]:
                raise UserError(
                    f"{named} has {image.shape[2]} bands, and {self._first[0]} has "
                    f"{self._first[1]}: all images must have the same number of bands."
                )
            total = self._pixels + count
            away = mean - self._mean
            self._squares = self._squares + squares + away**2 * self._pixels * count / total
            self._mean = self._mean + away * count / total
            self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
            self._pixels = total
            self._types.add(str(image.dtype))

    def described(self) -> dict[str, Any]:
        """``types`` of the numbers, and for each band ``mean``, ``std``, ``min`` and ``max``."""
        deviation = np.sqrt(self._squares / max(self._pixels, 1))
        return dict(
            types=sorted(self._types),
            mean=[round(float(value), 4) for value in self._mean],
            std=[round(float(value), 4) for value in deviation],
            min=self._low.tolist(),
            max=self._high.tolist(),
        )

    def lines(self) -> list[str]:
        """A table of the bands, and what a config is to have of it."""
        found = self.described()
        rows = zip(*(found[name] for name in ("mean", "std", "min", "max")), strict=True)
        numbers = [
            f"{band:4d} {' '.join(f'{value:12.4g}' for value in row)}"
            for band, row in enumerate(rows, start=1)
        ]
        head = f"band {' '.join(f'{name:>12s}' for name in ('mean', 'std', 'min', 'max'))}"
        mean, std = ([float(f"{value:.5g}") for value in found[name]] for name in ("mean", "std"))
        return [
            f"{len(numbers)} bands of {', '.join(found['types'])}:", head, *numbers,
            f"data_preprocessor=dict(type='BandsDataPreprocessor', mean={mean}, std={std}, "
            "bgr_to_rgb=False)",
        ]  # fmt: skip


def encode_bands(image: np.ndarray) -> bytes:
    """A TIFF of (H, W, C), each band a page, which :func:`read_bands` reads with OpenCV alone.

    Raises:
        UserError: OpenCV writes no TIFF of this type.
    """
    pages = [np.ascontiguousarray(band) for band in np.moveaxis(image, 2, 0)]
    written, content = cv2.imencodemulti(".tif", pages)
    if not written:
        raise UserError(f"OpenCV cannot write bands of {image.dtype}.")
    return content.tobytes()


def _read(path: Path) -> np.ndarray:
    content = np.fromfile(path, np.uint8)
    is_tiff = content[:2].tobytes() in (b"II", b"MM")
    if is_tiff and importlib.util.find_spec("tifffile") is not None:
        try:
            return _read_tifffile(path)
        except ValueError as error:  # compressed in a way for which tifffile asks for more
            if "imagecodecs" not in str(error):
                raise
    pages = _pages(content)
    if pages:
        return _joined([_in_order(page) for page in pages], path)
    if is_tiff and importlib.util.find_spec("rasterio") is not None:
        return _read_rasterio(path)
    cure = " `pip install tifffile imagecodecs` reads more kinds of TIFF." if is_tiff else ""
    raise UserError(f"image {path} cannot be read: OpenCV cannot decode it.{cure}")


def _pages(content: np.ndarray) -> list[np.ndarray]:
    if not content.size:
        return []
    try:
        return list(cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)[1])
    except cv2.error:
        return []


def _in_order(page: np.ndarray) -> np.ndarray:
    """A page of OpenCV's, (H, W, C), in the file's order."""
    page = page[..., None] if page.ndim == 2 else page
    order = _COLORS.get(page.shape[2])
    return page if order is None else page[..., order]


def _read_tifffile(path: Path) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(path) as file:
        pages = []
        for page in file.pages:
            array = page.asarray()
            if page.axes == "SYX":  # each band by itself
                array = array.transpose(1, 2, 0)
            pages.append(array[..., None] if array.ndim == 2 else array)
    return _joined(pages, path)


def _read_rasterio(path: Path) -> np.ndarray:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read().transpose(1, 2, 0)


def _joined(pages: list[np.ndarray], path: Path) -> np.ndarray:
    """Pages of one size as bands; smaller ones are levels of a pyramid."""
    size, dtype = pages[0].shape[:2], pages[0].dtype
    same = [page for page in pages if page.shape[:2] == size]
    larger = [page for page in pages if page.shape[0] > size[0] or page.shape[1] > size[1]]
    if larger or any(page.dtype != dtype for page in same):
        kinds = sorted({f"{p.shape[1]} x {p.shape[0]} {p.dtype}" for p in pages})
        raise UserError(f"image {path} has pages that are not bands of one image: {kinds[:6]}.")
    return np.concatenate(same, 2)
