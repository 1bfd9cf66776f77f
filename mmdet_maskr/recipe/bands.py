"""Photos of more than 8 bits, as microscopes and cameras write them: what their pixels are like."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from mmdet_maskr.bands import BandStatistics, read_bands
from mmdet_maskr.coco.index import open_index
from mmdet_maskr.datasets.formats.prepared import Prepared

MEASURED = 50  # photos
_MODES = ("I", "I;16", "I;16B", "I;16L", "F")  # of more than 8 bits, by Pillow


class Bands(NamedTuple):
    """Bands that are loaded with all their bits.

    Attributes:
        mean: of each band, in the numbers of the files.
        std: as many.
        types: of the numbers.
        photos: that were measured.
    """

    mean: list[float]
    std: list[float]
    types: list[str]
    photos: int


def bands_of(prepared: Prepared) -> tuple[Bands | None, int]:
    """Bands of the photos, and how many have more than 8 bits.

    Returns:
        None for photos that are loaded as colors of 8 bits: all of them, or those among which some
        have more.

    Raises:
        UserError: photos with more than 8 bits have different numbers of bands.
    """
    photos = {split: _photos(prepared, split) for split in prepared.files}
    every = [path for paths in photos.values() for path in paths]
    deep = sum(map(_is_deep, every))
    if deep < len(every):
        return None, deep
    measured = list(islice(photos["train"], MEASURED))
    statistics = BandStatistics()
    for path in measured:
        statistics.add(read_bands(path), f"image {path}")
    found = statistics.described()
    std = [max(value, 1e-6) for value in found["std"]]  # of a band without anything in it
    return Bands(found["mean"], std, found["types"], len(measured)), deep


def _photos(prepared: Prepared, split: str) -> Sequence[Path]:
    index = open_index(prepared.files[split])
    return [prepared.root / index.image(row)["file_name"] for row in range(index.num_images)]


def _is_deep(path: Path) -> bool:
    if path.suffix.lower() in (".jpg", ".jpeg", ".webp", ".bmp"):
        return False
    try:
        with Image.open(path) as image:
            return image.mode in _MODES or any(";16" in str(part[3]) for part in image.tile)
    except UnidentifiedImageError:  # more bands than Pillow knows
        return True
