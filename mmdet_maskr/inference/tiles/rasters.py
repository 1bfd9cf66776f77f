"""Windows of an image: of a large TIFF read from the file, of anything else cut from its array."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmdet_maskr.inference.tiles.grid import Tile
from mmdet_maskr.inference.walk import Unreadable

SUFFIXES = (".tif", ".tiff")
WHOLE = 1 << 24  # pixels; an image of fewer is decoded at once, by the model's own decoder
COLORS = 3


class Raster(Protocol):
    """An image whose windows can be read.

    Attributes:
        height: H.
        width: W.
    """

    height: int
    width: int

    def read(self, tile: Tile) -> np.ndarray:
        """The pixels of a window, (h, w, C) as the model's pipeline takes arrays.

        Raises:
            Unreadable: they cannot be decoded.
        """


class Pixels:
    """An image in memory.

    Args:
        array: (H, W, C).
    """

    def __init__(self, array: np.ndarray) -> None:
        self.height, self.width = array.shape[:2]
        self._array = array

    def read(self, tile: Tile) -> np.ndarray:
        """See :class:`Raster`."""
        return np.ascontiguousarray(self._array[tile.y0 : tile.y1, tile.x0 : tile.x1])


class Layout(NamedTuple):
    """What a TIFF's head says; ``is_single``: its other pages, if any, are smaller levels."""

    height: int
    width: int
    bands: int
    dtype: np.dtype
    is_single: bool


def open_raster(
    content: str | np.ndarray,
    load: Callable[[str], np.ndarray],
    channels: int | None,
    is_color: bool,
) -> Raster:
    """An image of which tiles are to be read.

    Args:
        content: path, or array (H, W, C).
        load: reads a whole file as the model's pipeline does, (H, W, C).
        channels: of the model; None for those of the file, where ``is_color`` is False.
        is_color: whether the pipeline gives BGR of 8 bits; else bands as the file stores them.

    Raises:
        Unreadable: the file is no image.
    """
    if isinstance(content, np.ndarray):
        return Pixels(content)
    if is_tiff(content):
        for package, kind in (("rasterio", RasterioWindows), ("tifffile", TifffileWindows)):
            if importlib.util.find_spec(package) is None:
                continue
            windows = kind(content, channels, is_color)
            if windows.is_large and windows.is_same:
                return windows
            break
    return Pixels(load(content))


def is_tiff(path: str) -> bool:
    """Whether a path has the suffix of a TIFF."""
    return path.lower().endswith(SUFFIXES)


class _Windows:
    """Windows of a TIFF, in the order of channels that the model has."""

    def __init__(self, path: str, channels: int | None, is_color: bool) -> None:
        self.path, self._channels, self._is_color = path, channels, is_color
        with self._reading():
            self.layout = self._open()
        self.height, self.width = self.layout.height, self.layout.width

    @property
    def is_large(self) -> bool:
        """Whether it is worthwhile."""
        return self.height * self.width > WHOLE

    @property
    def is_same(self) -> bool:
        """Whether windows are what the pipeline would make of the whole file."""
        if not self.layout.is_single:
            return False
        if not self._is_color:
            return self._channels in (None, self.layout.bands)
        is_color = self._channels == COLORS and self.layout.dtype == np.uint8
        return is_color and self.layout.bands in (1, 3, 4)

    def read(self, tile: Tile) -> np.ndarray:
        """See :class:`Raster`."""
        with self._reading():
            pixels = self._read(tile)
        if self._is_color:
            pixels = pixels[..., :COLORS][..., ::-1]  # BGR, without the alpha channel
            pixels = np.broadcast_to(pixels, (*pixels.shape[:2], COLORS))
        return np.ascontiguousarray(pixels)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:  # of many types: damage, unknown compressions, missing parts
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise Unreadable(self.path, f"its TIFF cannot be decoded ({reason})") from error

    def _open(self) -> Layout:
        raise NotImplementedError

    def _read(self, tile: Tile) -> np.ndarray:
        raise NotImplementedError


class RasterioWindows(_Windows):
    """Windows of a TIFF or GeoTIFF by rasterio."""

    def _open(self) -> Layout:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            self._file = rasterio.open(self.path)
        file = self._file
        dtype = np.dtype(file.dtypes[0])
        return Layout(file.height, file.width, file.count, dtype, not file.subdatasets)

    def _read(self, tile: Tile) -> np.ndarray:
        from rasterio.windows import Window

        window = Window(tile.x0, tile.y0, tile.x1 - tile.x0, tile.y1 - tile.y0)
        return self._file.read(window=window).transpose(1, 2, 0)


class TifffileWindows(_Windows):
    """Windows of the first level of a TIFF by tifffile: the chunks that they touch are decoded."""

    def _open(self) -> Layout:
        import tifffile

        self._file = tifffile.TiffFile(self.path)
        self._page: Any = self._file.pages[0]
        sizes = dict(zip(self._page.axes, self._page.shape, strict=True))
        if not {"Y", "X"} <= set(sizes) <= set("YXS"):
            raise ValueError(
                f"its pages have the axes {self._page.axes}, which do not form an image"
            )
        size = sizes["Y"], sizes["X"]
        pages: list[Any] = list(self._file.pages)[1:]
        others = [(page.imagelength, page.imagewidth) for page in pages]
        is_single = all(h < size[0] and w < size[1] for h, w in others)
        return Layout(*size, sizes.get("S", 1), np.dtype(self._page.dtype), is_single)

    def _read(self, tile: Tile) -> np.ndarray:
        page, layout = self._page, self.layout
        window = np.zeros((tile.y1 - tile.y0, tile.x1 - tile.x0, layout.bands), layout.dtype)
        chunk_height, chunk_width = page.tilelength or page.rowsperstrip, page.tilewidth
        across = -(-layout.width // chunk_width) if page.is_tiled else 1
        down = -(-layout.height // chunk_height)
        planes = layout.bands if page.planarconfig == 2 else 1  # each band has chunks of its own
        if not page.is_tiled:
            chunk_width = layout.width
        for plane in range(planes):
            bands = slice(plane, plane + 1) if planes > 1 else slice(None)
            for row in range(tile.y0 // chunk_height, -(-tile.y1 // chunk_height)):
                for column in range(tile.x0 // chunk_width, -(-tile.x1 // chunk_width)):
                    index = (plane * down + row) * across + column
                    x, y = column * chunk_width, row * chunk_height
                    chunk = self._chunk(index)
                    if chunk is None:  # nothing is stored where a tile is empty
                        continue
                    inside = Tile(x, y, x + chunk.shape[1], y + chunk.shape[0]).common(tile)
                    window[
                        inside.y0 - tile.y0 : inside.y1 - tile.y0,
                        inside.x0 - tile.x0 : inside.x1 - tile.x0,
                        bands,
                    ] = chunk[inside.y0 - y : inside.y1 - y, inside.x0 - x : inside.x1 - x]
        return window

    def _chunk(self, index: int) -> np.ndarray | None:
        """(h, w, bands) of a chunk."""
        page = self._page
        size = page.databytecounts[index]
        if not size:
            return None
        handle = page.parent.filehandle
        handle.seek(page.dataoffsets[index])
        data = handle.read(size)
        if len(data) < size:
            raise ValueError(f"the file ends within chunk {index}")
        chunk = page.decode(data, index, jpegtables=page.jpegtables)[0]
        return None if chunk is None else chunk[0]
