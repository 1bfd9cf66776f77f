"""The edges of all masks of an image, moved into it, ready to be drawn.

Symbols: N masks, E edges, Q parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pycocotools.mask

from mmdet_maskr.structures.shapes import Shape
from mmdet_maskr.structures.windows import Window


@dataclass(frozen=True)
class Outlines:
    """Edges in parts. A mask is the union of its parts, cut by those of them that are windows.

    Edges and parts of a mask stand together, in the order of masks.

    Attributes:
        edges: (E, 4) float64 x1, y1, x2, y2.
        part: (E,) the part of each edge.
        owner: (Q,) the mask of each part.
        is_window: (Q,) bool.
        number: N.
    """

    edges: np.ndarray
    part: np.ndarray
    owner: np.ndarray
    is_window: np.ndarray
    number: int

    @property
    def parts(self) -> int:
        """Q."""
        return len(self.owner)

    @classmethod
    def of(
        cls, shapes: Sequence[Shape], matrices: np.ndarray, windows: Sequence[Window | None]
    ) -> Outlines:
        """Outlines of ``shapes`` (N) moved by ``matrices`` (N, 3, 3) and cut by ``windows`` (N).

        Windows that cut nothing off are left out.
        """
        edges, part = [np.zeros((0, 4))], [np.zeros(0, np.int64)]
        owner: list[int] = []
        is_window: list[bool] = []
        for i, (shape, matrix, window) in enumerate(zip(shapes, matrices, windows, strict=True)):
            outline = shape.outline()
            moved = _moved(outline.edges, matrix)
            edges.append(moved)
            part.append(outline.part + len(owner))
            owner += [i] * outline.parts
            is_window += [False] * outline.parts
            if window is None or len(moved) == 0:
                continue
            points = moved.reshape(-1, 2)
            if not window.contains(points.min(0), points.max(0)):
                cut = window.edges()
                edges.append(cut)
                part.append(np.full(len(cut), len(owner)))
                owner.append(i)
                is_window.append(True)
        return cls(
            np.concatenate(edges),
            np.concatenate(part),
            np.array(owner, np.int64),
            np.array(is_window, bool),
            len(shapes),
        )

    def joined(self, parts: Sequence[dict], size: tuple[int, int]) -> list[dict]:
        """RLEs of the N masks from those of the Q parts, in an image of ``size`` (H, W)."""
        bounds = np.searchsorted(self.owner, np.arange(self.number + 1))
        found = []
        for a, b in pairwise(bounds):
            shapes = [parts[i] for i in range(a, b) if not self.is_window[i]]
            windows = [parts[i] for i in range(a, b) if self.is_window[i]]
            whole = shapes[0] if len(shapes) == 1 else pycocotools.mask.merge(shapes)
            if windows:
                whole = pycocotools.mask.merge([whole, *windows], intersect=True)
            found.append(dict(size=list(size), counts=whole["counts"]))
        return found


def _moved(edges: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    x, y = edges[:, ::2], edges[:, 1::2]
    moved = np.empty_like(edges)
    moved[:, ::2] = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    moved[:, 1::2] = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    return moved
