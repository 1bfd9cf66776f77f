"""Pixels of outlines, as pycocotools draws polygons: on the CPU or a GPU, many at once.

pycocotools (``rleFrPoly`` in maskApi.c) moves corners to a grid five times as fine, walks along
each edge in steps of one fine pixel, and notes where the walk goes from the third to the fourth
fifth of a column: there the pixels from that row on change sides. What the walk meets in a column
is a closed expression of the edge's ends, evaluated here for all edges together, with the same
roundings. Order and direction of edges do not matter, so an outline may have any number of rings.

Symbols: E edges, C crossings, H x W the grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmdet_maskr.ops.constants import constant

_FINE = 5  # fine pixels in a pixel, along x and along y


def crossings(edges: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Where edges change the side of the pixels below.

    Args:
        edges: (E, 4) float64 x1, y1, x2, y2 in pixels of the grid, continuous; also outside of it.
        size: (H, W).

    Returns:
        edge (C,), column (C,) and row (C,) int64: from ``row``, in [0, H], on, the pixels of the
        column are on the other side of the edge.
    """
    height, width = size
    fine = (edges * _FINE + 0.5).trunc()
    left, right = torch.aminmax(fine[:, ::2], dim=1)
    first = ((left - 2) / _FINE).ceil().clamp(min=0)
    last = ((right - 3) / _FINE).floor().clamp(max=width - 1)
    number = (last - first + 1).clamp(min=0).long()
    edge = torch.repeat_interleave(number)
    column = torch.arange(len(edge), device=edge.device) - (number.cumsum(0) - number)[edge]
    column += first[edge].long()

    before = (column * _FINE + 2).to(edges.dtype)  # the fine column ahead of the crossing
    return edge, column, _rows(fine[edge], before, height).long()


def filled_at_once(edges: Tensor, part: Tensor, parts: int, size: tuple[int, int]) -> Tensor:
    """Pixels inside of outlines: :func:`crossings` and :func:`fill`, without a wait for a GPU.

    Each edge is looked at in each column, so that nobody has to know how many columns it crosses.

    Args:
        edges: (N, E, 4) float64 of N drawings, x1, y1, x2, y2; points are no edges.
        part: (N, E) int64, the outline in its drawing that an edge belongs to, in [0, parts).
        parts: outlines of a drawing, P.
        size: (H, W).

    Returns:
        (N, P, W, H) bool, columns first.
    """
    height, width = size
    fine = (edges * _FINE + 0.5).trunc()
    before = constant(range(2, width * _FINE, _FINE), edges)
    left, right = torch.aminmax(fine[..., ::2], dim=-1, keepdim=True)
    is_crossed = (left <= before) & (right > before)  # (N, E, W)
    row = _rows(fine[..., None, :], before, height).where(is_crossed, 0).long()
    column = constant(range(0, width * (height + 1), height + 1), part)
    place = row + column
    if parts > 1:
        place += part[..., None] * (width * (height + 1))
    changes = torch.zeros(
        (len(edges), parts * width * (height + 1)), dtype=torch.int32, device=edges.device
    )
    changes.scatter_add_(1, place.flatten(1), is_crossed.flatten(1).int())
    changes = changes.view(len(edges), parts, width, height + 1)
    return (changes.cumsum(3, dtype=torch.int32)[..., :height] & 1) == 1


def _rows(fine: Tensor, before: Tensor, height: int) -> Tensor:
    """Row from which on pixels change sides, where an edge crosses a column.

    Args:
        fine: (..., 4) fine pixels x1, y1, x2, y2.
        before: (...) fine column ahead of the crossing.
        height: H; rows are in [0, H].
    """
    # the walk goes along the longer of the two sides, in its rising direction
    across, down = fine[..., 2] - fine[..., 0], fine[..., 3] - fine[..., 1]
    flat = across.abs() >= down.abs()
    turned = torch.where(flat, across, down) < 0
    x1, y1 = torch.where(turned[..., None], fine[..., 2:], fine[..., :2]).unbind(-1)
    row = torch.where(
        flat,
        _on_flat_edge(before - x1, y1, down / across),
        y1 + _on_steep_edge(before, x1, across / down),
    )
    return ((row - 2) / _FINE).ceil().clamp(0, height)


def _on_flat_edge(step: Tensor, y1: Tensor, slope: Tensor) -> Tensor:
    """Fine row of the crossing, where each step of the walk is a fine column."""
    return (y1 + slope * _and_next(step) + 0.5).trunc().amin(0)


def _and_next(step: Tensor) -> Tensor:
    """(2, ...) steps (...) and those that follow them."""
    return step + constant((0, 1), step).view(2, *[1] * step.dim())


def _on_steep_edge(before: Tensor, x1: Tensor, slope: Tensor) -> Tensor:
    """The last step ahead of the crossing, where each step of the walk is a fine row."""
    rises = slope > 0
    middle = (before + 0.5 - x1) / slope
    step = torch.where(rises, middle.ceil() - 1, middle.floor())

    # the division is rounded; the walk's own roundings decide, here and one step on
    both = _and_next(step)
    ahead, still = (((x1 + slope * both + 0.5).trunc() <= before) == rises).unbind()
    return torch.where(still, both[1], torch.where(ahead, step, step - 1))


def fill(outline: Tensor, column: Tensor, row: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """Pixels inside of outlines, by the parity of the crossings above.

    Args:
        outline: (C,) to which outline each crossing belongs, in [0, count).
        column: (C,) from :func:`crossings`.
        row: (C,) from :func:`crossings`.
        count: number of outlines.
        size: (H, W).

    Returns:
        (count, H, W) bool.
    """
    height, width = size
    changes = torch.zeros(count * width * (height + 1), dtype=torch.int32, device=row.device)
    place = (outline * width + column) * (height + 1) + row
    changes.scatter_add_(0, place, torch.ones_like(place, dtype=torch.int32))
    inside = changes.view(count, width, height + 1).cumsum(2, dtype=torch.int32)[..., :height] & 1
    return inside.transpose(1, 2) == 1
