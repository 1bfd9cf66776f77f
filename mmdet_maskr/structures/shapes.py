"""The shape of one instance as its file has it, and the edges around it.

An outline is a set of edges in parts. A part is what an odd number of its edges lies above; the
shape is the union of its parts. Order and direction of edges mean nothing, so rings within rings
are holes.

Symbols: P corners, E edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import pycocotools.mask
import torch

from mmdet_maskr.coco.form import as_text
from mmdet_maskr.errors import UserError
from mmdet_maskr.run_lengths import compress, decompress


class Outline(NamedTuple):
    """Edges (E, 4) float64 x1, y1, x2, y2, continuous, and the part (E,) that each belongs to."""

    edges: np.ndarray
    part: np.ndarray
    parts: int


@dataclass(frozen=True, eq=False)
class Polygons:
    """One or several polygons, each a part, as COCO has them; one that crosses itself is even-odd.

    Attributes:
        corners: (P, 2) float64 x, y of all polygons, continuous.
        lengths: number of corners of each.
        known: False where they are the box of an object whose mask nobody has drawn.
    """

    corners: np.ndarray
    lengths: tuple[int, ...]
    known: bool = True

    @classmethod
    def of(cls, polygons: Sequence[Any], known: bool = True) -> Polygons:
        """From polygons x1, y1, x2, y2, ..., lists or arrays.

        Raises:
            UserError: an odd number of coordinates.
        """
        flat = [np.asarray(polygon, np.float64).reshape(-1) for polygon in polygons]
        odd = [len(polygon) for polygon in flat if len(polygon) % 2]
        if odd:
            raise UserError(f"a polygon is x, y, x, y, ...; one has {odd[0]} numbers.")
        corners = np.concatenate(flat) if flat else np.zeros(0)
        return cls(corners.reshape(-1, 2), tuple(len(polygon) // 2 for polygon in flat), known)

    def outline(self) -> Outline:
        """The edges from corner to corner."""
        lengths = np.array(self.lengths, np.int64)
        following = np.arange(1, len(self.corners) + 1)
        ends = lengths.cumsum()
        filled = lengths > 0
        following[ends[filled] - 1] = (ends - lengths)[filled]
        edges = np.concatenate([self.corners, self.corners[following]], 1)
        parts = np.repeat(np.arange(len(lengths)), lengths)
        return Outline(edges, parts, max(len(lengths), 1))

    def state(self) -> dict:
        """As tensors and lists, for :func:`shape_of_state`."""
        kept: dict[str, Any] = dict(corners=torch.from_numpy(self.corners))
        return dict(kept, lengths=list(self.lengths), known=self.known)

    def __deepcopy__(self, memo: dict) -> Polygons:
        return self


@dataclass(frozen=True, eq=False)
class RunLengths:
    """COCO's run-length code: one part with any holes.

    Attributes:
        rle: ``size`` [H, W] and ``counts``, compressed.
    """

    rle: dict
    known: ClassVar[bool] = True

    @classmethod
    def of(cls, rle: dict) -> RunLengths:
        """From a code, compressed or not.

        Raises:
            UserError: there are no ``size`` and ``counts``, or the counts do not fill the size.
        """
        size, counts = rle.get("size"), rle.get("counts")
        if not isinstance(size, Sequence) or len(size) != 2:
            raise UserError(f"an RLE needs size [height, width], not {size!r}.")
        size = [int(side) for side in size]
        if isinstance(counts, str):
            counts = counts.encode()
        if not isinstance(counts, bytes):
            runs = np.asarray(counts, np.int64)
            if runs.ndim != 1 or (runs < 0).any() or int(runs.sum()) != size[0] * size[1]:
                raise UserError(f"the counts of an RLE do not fill its size {size}.")
            counts = compress([runs])[0]
        return cls(dict(size=size, counts=counts))

    @classmethod
    def of_bitmap(cls, bitmap: np.ndarray) -> RunLengths:
        """From pixels (H, W) of any type, 0 outside."""
        return cls(pycocotools.mask.encode(np.asfortranarray(bitmap != 0, np.uint8)))

    def outline(self) -> Outline:
        """The borders between pixels inside and outside.

        Raises:
            UserError: the counts are no run lengths.
        """
        height, width = self.rle["size"]
        runs = decompress(self.rle["counts"])
        if runs is None or (runs < 0).any() or int(runs.sum()) != height * width:
            raise UserError(f"the counts of an RLE do not fill its size {[height, width]}.")
        top, bottom, column = _columns(runs.cumsum(), height)
        if len(top) == 0:
            return Outline(np.zeros((0, 4)), np.zeros(0, np.int64), 1)
        # a row's border in each column where one begins or ends, joined to longer ones
        y, x = _sorted_pairs(np.append(top, bottom), np.append(column, column))
        fresh = np.ones(len(x), bool)
        fresh[1:] = (np.diff(y) != 0) | (np.diff(x) != 1)
        first = np.flatnonzero(fresh)
        last = np.append(first[1:], len(x)) - 1
        across = np.stack([x[first], y[first], x[last] + 1, y[first]], 1)
        # between two columns, where one is inside and the other is not
        x, y = _sorted_pairs(
            np.concatenate([column, column, column + 1, column + 1]),
            np.concatenate([top, bottom, top, bottom]),
        )
        down = np.stack([x[::2], y[::2], x[::2], y[1::2]], 1)
        edges = np.concatenate([across, down[down[:, 1] < down[:, 3]]]).astype(np.float64)
        return Outline(edges, np.zeros(len(edges), np.int64), 1)

    def state(self) -> dict:
        """As lists and a text, for :func:`shape_of_state`."""
        return as_text(self.rle)

    def __deepcopy__(self, memo: dict) -> RunLengths:
        return self


Shape: TypeAlias = Polygons | RunLengths


def shape_of(segmentation: Any) -> Shape:
    """The shape of one instance.

    Args:
        segmentation: polygons (a list), an RLE (a dict), or pixels (H, W).

    Raises:
        UserError: it is none of these.
    """
    if isinstance(segmentation, Polygons | RunLengths):
        return segmentation
    if isinstance(segmentation, dict):
        return RunLengths.of(segmentation)
    if isinstance(segmentation, np.ndarray) and segmentation.ndim == 2:
        return RunLengths.of_bitmap(segmentation)
    if isinstance(segmentation, list | tuple):
        return Polygons.of(segmentation)
    raise UserError(
        "a mask is a list of polygons, an RLE or an array (height, width), not "
        f"{type(segmentation).__name__}."
    )


def shape_of_state(state: dict) -> Shape:
    """A shape of its ``state()``.

    Raises:
        UserError: it is damaged.
    """
    if "counts" in state:
        return RunLengths.of(state)
    corners, lengths = np.asarray(state["corners"], np.float64), tuple(state["lengths"])
    if corners.shape != (sum(lengths), 2) or min(lengths, default=0) < 0:
        raise UserError("a polygon that was stored is damaged.")
    return Polygons(corners, lengths, bool(state.get("known", True)))


def _columns(ends: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Top, bottom and column of the runs inside, cut where they go on in the next column."""
    begin, end = ends[:-1:2], ends[1::2]
    begin, end = begin[begin < end], end[begin < end]
    first, last = begin // height, (end - 1) // height
    number = last - first + 1
    run = np.repeat(np.arange(len(number)), number)
    column = np.arange(len(run)) - np.repeat(number.cumsum() - number, number) + first[run]
    top = np.maximum(begin[run] - column * height, 0)
    bottom = np.minimum(end[run] - column * height, height)
    return top, bottom, column


def _sorted_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs by the first number, then by the second."""
    base = int(second.max(initial=0)) + 1
    return np.divmod(np.sort(first * base + second), base)
