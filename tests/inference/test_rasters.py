"""Windows of TIFFs are the pixels that OpenCV, or the array that was written, has there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdet_maskr.inference.tiles import rasters
from mmdet_maskr.inference.tiles.grid import Tile
from mmdet_maskr.inference.tiles.rasters import (
    Pixels,
    RasterioWindows,
    TifffileWindows,
    open_raster,
)
from mmdet_maskr.inference.walk import Unreadable

WINDOW = Tile(130, 70, 333, 211)
INSIDE = np.s_[WINDOW.y0 : WINDOW.y1, WINDOW.x0 : WINDOW.x1]


@pytest.fixture(params=["rasterio", "tifffile"])
def kind(request: pytest.FixtureRequest) -> type:
    pytest.importorskip(request.param)
    return dict(rasterio=RasterioWindows, tifffile=TifffileWindows)[request.param]


def write(path: Path, image: np.ndarray, **options) -> str:
    tifffile = pytest.importorskip("tifffile")
    kind = "rgb" if image.shape[-1] in (3, 4) or len(image) == 3 else "minisblack"
    tifffile.imwrite(path, image, photometric=kind, **options)
    return str(path)


def test_arrays():
    image = np.random.randint(0, 255, (300, 420, 3), np.uint8)
    raster = open_raster(image, lambda path: image, 3, True)
    assert (raster.height, raster.width) == (300, 420)
    assert (raster.read(WINDOW) == image[INSIDE]).all()


@pytest.mark.parametrize("shape", [(300, 420), (300, 420, 3), (300, 420, 4)])
@pytest.mark.parametrize(
    "options", [dict(tile=(64, 96)), dict(rowsperstrip=50), dict(compression="zlib")], ids=str
)
def test_colors(kind: type, tmp_path: Path, shape: tuple[int, ...], options: dict):
    """As OpenCV reads the whole file: BGR, gray repeated, without the alpha channel."""
    image = np.random.randint(0, 255, shape, np.uint8)
    image[..., 3:] = 255  # where it is transparent, OpenCV mixes in black
    path = write(tmp_path / "image.tif", image, **options)
    raster = kind(path, 3, True)
    assert raster.is_same and not raster.is_large
    assert (raster.read(WINDOW) == cv2.imread(path)[INSIDE]).all()


@pytest.mark.parametrize("separate", [True, False])
def test_bands(kind: type, tmp_path: Path, separate: bool):
    """In the file's order, with all their bits; together or one after the other."""
    image = np.random.randint(0, 1 << 16, (300, 420, 5), np.uint16)
    path = write(
        tmp_path / "bands.tif",
        image.transpose(2, 0, 1) if separate else image,
        planarconfig="separate" if separate else "contig",
        tile=(64, 64),
    )
    raster = kind(path, 5, False)
    window = raster.read(WINDOW)
    assert window.dtype == np.uint16 and (window == image[INSIDE]).all()
    assert not kind(path, 5, True).is_same and not kind(path, 4, False).is_same


def test_large_ones_alone(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Small files are decoded as the model does; so are those whose windows would differ."""
    image = np.random.randint(0, 255, (300, 420, 3), np.uint8)
    path = write(tmp_path / "image.tif", image, tile=(64, 64))
    deep = write(tmp_path / "deep.tif", image.astype(np.uint16), tile=(64, 64))
    assert isinstance(open_raster(path, cv2.imread, 3, True), Pixels)
    monkeypatch.setattr(rasters, "WHOLE", 1000)
    assert isinstance(open_raster(path, cv2.imread, 3, True), (RasterioWindows, TifffileWindows))
    assert isinstance(open_raster(deep, cv2.imread, 3, True), Pixels)


def test_pages_are_no_windows(kind: type, tmp_path: Path):
    """Bands as pages are read whole; smaller pages are levels of a pyramid."""
    tifffile = pytest.importorskip("tifffile")
    pages = np.random.randint(0, 255, (2, 100, 120), np.uint8)
    tifffile.imwrite(tmp_path / "pages.tif", pages, photometric="minisblack", tile=(64, 64))
    assert not kind(str(tmp_path / "pages.tif"), None, False).is_same
    with tifffile.TiffWriter(tmp_path / "levels.tif") as writer:
        writer.write(pages[0], tile=(64, 64), subfiletype=0)
        writer.write(pages[0, ::2, ::2], tile=(16, 16), subfiletype=1)
    raster = kind(str(tmp_path / "levels.tif"), None, False)
    assert (
        raster.is_same and (raster.read(Tile(5, 6, 90, 99))[..., 0] == pages[0, 6:99, 5:90]).all()
    )


def test_damage(kind: type, tmp_path: Path):
    """A file that ends early, one of an unknown compression, and none at all."""
    image = np.random.randint(0, 255, (300, 420, 3), np.uint8)
    path = Path(write(tmp_path / "image.tif", image, tile=(64, 64), compression="zlib"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(Unreadable, match="cannot be decoded"):
        kind(str(path), 3, True).read(Tile(0, 0, 420, 300))
    tag = content.find(b"\x03\x01\x03\x00\x01\x00\x00\x00")  # the tag of the compression
    assert tag > 0
    path.write_bytes(content[: tag + 8] + b"\x39\x30" + content[tag + 10 :])
    with pytest.raises(Unreadable, match="cannot be decoded"):
        kind(str(path), 3, True).read(WINDOW)
    path.write_bytes(b"no image")
    with pytest.raises(Unreadable, match="cannot be decoded"):
        kind(str(path), 3, True)
