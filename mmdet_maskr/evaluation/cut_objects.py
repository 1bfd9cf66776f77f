"""How objects that the borders of tiles cut come back: once and whole, or in pieces.

Symbols: G objects, D detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pycocotools.mask

from mmdet_maskr import run_sets
from mmdet_maskr.inference.tiles.grid import Tile

WHOLE, CUT, PARTS = range(3)  # no tile cuts it; some tile does; all do that show it
WITHIN = 0.5  # of a detection's area in an object: it is one of this object


class Returned(NamedTuple):
    """What came back of G objects.

    Attributes:
        ious: (G,) with the one detection that is paired with the object; 0 without one.
        more: (G,) further detections, most of whose pixels are the object's: duplicates and pieces.
    """

    ious: np.ndarray
    more: np.ndarray


def returned(objects: Sequence[dict], found: Sequence[dict]) -> Returned:
    """Pair objects and detections of one class and image by their masks, the most similar first.

    Args:
        objects: G RLEs with compressed ``counts``.
        found: D RLEs of the same size.
    """
    result = Returned(np.zeros(len(objects)), np.zeros(len(objects), np.int64))
    if not len(objects) or not len(found):
        return result
    ious, shares = (  # (D, G); COCO measures a detection's part in a crowd by its own area
        np.asarray(pycocotools.mask.iou(list(found), list(objects), [kind] * len(objects)))
        for kind in (0, 1)
    )
    free = np.ones(len(found), bool)
    rows, columns = np.nonzero(ious)
    for i in np.argsort(-ious[rows, columns], kind="stable"):
        row, column = rows[i], columns[i]
        if free[row] and result.ious[column] == 0:
            free[row], result.ious[column] = False, ious[row, column]
    for row in np.flatnonzero(free):
        column = shares[row].argmax()
        result.more[column] += shares[row, column] > WITHIN
    return result


def how_cut(mask: dict, tiles: Sequence[Tile]) -> int:
    """:data:`WHOLE`, :data:`CUT` or :data:`PARTS`: what tiles do to an object.

    Args:
        mask: its RLE.
        tiles: all of the image.
    """
    runs, height = run_sets.of_rle(mask), mask["size"][0]
    area = run_sets.area(runs)
    x, y, width, high = pycocotools.mask.toBbox(mask)
    box = Tile(int(x), int(y), int(x + width), int(y + high))
    seen = [
        run_sets.area(run_sets.cut(runs, tile, height)) for tile in tiles if tile.common(box)
    ]  # fmt: skip
    if all(part in (0, area) for part in seen):
        return WHOLE
    return CUT if area in seen else PARTS
