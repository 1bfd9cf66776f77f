"""The positions of an image's tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from mmdet_maskr.errors import UserError

OVERLAP = 0.2
LEAST_TILE = 32  # pixels, where the model's stride is not known


class Tile(NamedTuple):
    """A window of an image: pixels from (x0, y0) up to, and without, (x1, y1)."""

    x0: int
    y0: int
    x1: int
    y1: int

    def common(self, other: Tile) -> Tile:
        """What two tiles share; its width or height is not positive where they share nothing."""
        return Tile(
            max(self.x0, other.x0),
            max(self.y0, other.y0),
            min(self.x1, other.x1),
            min(self.y1, other.y1),
        )

    def __bool__(self) -> bool:
        return self.x1 > self.x0 and self.y1 > self.y0


@dataclass(frozen=True)
class Tiling:
    """Square tiles that overlap.

    Args:
        side: of a tile in pixels of the image.
        overlap: of neighbors, as a share of the side; at least.
    """

    side: int
    overlap: float = OVERLAP

    def tiles(self, height: int, width: int) -> list[Tile]:
        """Tiles that cover an image, row by row.

        All have the full side, so that the model sees each at the same scale, and the overlap is
        even; an image that is smaller than a tile along an axis is one tile there.
        """
        rows, columns = self._starts(height), self._starts(width)
        return [
            Tile(x, y, min(x + self.side, width), min(y + self.side, height))
            for y in rows
            for x in columns
        ]

    def _starts(self, length: int) -> list[int]:
        free = length - self.side
        if free <= 0:
            return [0]
        count = math.ceil(free / max(1, math.floor(self.side * (1 - self.overlap)))) + 1
        return [round(i * free / (count - 1)) for i in range(count)]


def check_tiling(tile: object, overlap: object, auto: int | None, stride: int) -> Tiling:
    """The tiling that options ask for.

    Args:
        tile: side in pixels, or 'auto'.
        overlap: share of the side.
        auto: the side that 'auto' means; None where nothing says it.
        stride: of the model's coarsest map, in pixels of its input.

    Raises:
        UserError: a side that is no number or below the stride, an overlap that is not in 0 to 1,
            or 'auto' where the test pipeline names no size.
    """
    if tile == "auto":
        if auto is None:
            raise UserError(
                "tile='auto' uses the image size of the test pipeline, but this pipeline "
                "resizes by a factor: pass the side length of the training images in "
                "pixels, such as tile=1024."
            )
        tile = auto
    if isinstance(tile, bool) or not isinstance(tile, int):
        raise UserError(
            f"tile={tile!r}: it must be a side length in pixels, such as 1024, or 'auto'."
        )
    if tile < stride:
        raise UserError(
            f"tile={tile} is smaller than the model's stride of {stride} pixels: pass "
            "the size of the training images, such as tile=1024."
        )
    number = isinstance(overlap, (int, float)) and not isinstance(overlap, bool)
    if not number or not 0 <= overlap < 1:  # type: ignore[operator]
        raise UserError(
            f"overlap={overlap!r}: it must be a fraction of the tile, at least 0 and "
            "below 1, such as 0.2."
        )
    return Tiling(tile, float(overlap))  # type: ignore[arg-type]
