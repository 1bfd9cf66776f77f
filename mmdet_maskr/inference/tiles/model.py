"""A model of the walk that detects on tiles of each image, and gives what it has as a whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mmdet_maskr.inference.tiles.grid import Tile, Tiling
from mmdet_maskr.inference.tiles.rasters import Raster
from mmdet_maskr.inference.tiles.seams import Seams
from mmdet_maskr.inference.walk import Found, Image, Model
from mmdet_maskr.progress import bar


@dataclass(frozen=True)
class TiledModel:
    """Detects on tiles.

    Args:
        model: detects on each.
        tiling: where they lie.
        open: opens an image.
        found: makes of an image, its raster and the joined lists what sinks take.
        batch_size: how many tiles the model sees at once.
        show_progress: show a bar over the tiles of an image.
    """

    model: Model
    tiling: Tiling
    open: Callable[[Image], Raster]
    found: Callable[[Image, Raster, dict[str, Any]], Found]
    batch_size: int = 1
    show_progress: bool = False

    def prepare(self, image: Image) -> tuple[Image, Raster]:
        """The image, opened; its windows are read while it is detected on."""
        return image, self.open(image)

    def detect(self, prepared: list[tuple[Image, Raster]]) -> list[Found]:
        """What is found on images, one after the other."""
        return [self.found(image, raster, self._lists(image, raster)) for image, raster in prepared]

    def _lists(self, image: Image, raster: Raster) -> dict[str, Any]:
        tiles = self.tiling.tiles(raster.height, raster.width)
        seams = Seams(raster.height, raster.width, tiles)
        is_long = self.show_progress and len(tiles) > 1
        with bar(f"Tiles of {image.name}", len(tiles), is_long) as advance:
            for batch in _batches(tiles, self.batch_size):
                data = [
                    self.model.prepare(Image(image.name, raster.read(tile))) for _, tile in batch
                ]
                for (number, _), found in zip(batch, self.model.detect(data), strict=True):
                    seams.add(number, found.lists)
                advance(len(batch))
        return seams.joined()


def _batches(tiles: list[Tile], size: int) -> Iterator[list[tuple[int, Tile]]]:
    """Tiles with their numbers, ``size`` at a time."""
    numbered = iter(enumerate(tiles))
    while batch := list(itertools.islice(numbered, size)):
        yield batch
