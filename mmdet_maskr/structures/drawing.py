"""Masks drawn in boxes, at the boxes' own resolution: the targets of a mask head.

Symbols: N boxes, m x m pixels in each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmdet_maskr.ops.constants import constant
from mmdet_maskr.ops.outline_fill import crossings, fill, filled_at_once
from mmdet_maskr.structures.outlines import Outlines

_SUBPIXELS = 4  # along x and along y, for the covered share
_MOST_EDGES = 1 << 20  # that are looked at together
_MOST_CROSSINGS = 1 << 22  # edges times columns, of which some twenty numbers are held at a time
_SHAPE, _WINDOW = 1, 2  # what a part is; 0 for none


def draw_in_boxes(
    images: Sequence[Outlines],
    boxes: Sequence[Tensor],
    indices: Sequence[Tensor],
    size: tuple[int, int],
    soft: bool = False,
) -> Tensor:
    """What pycocotools draws of each mask in its box, scaled to the target's size.

    As Detectron, Detectron2 and mmdet's PolygonMasks: corners relative to the box, whose sides
    count as a pixel at least, are scaled and drawn with m x m pixels. Run-length codes are drawn
    by the borders of their pixels. On a GPU the edges are sent there, and all is drawn there.

    Args:
        images: for each image its masks.
        boxes: for each image (N, 4) xyxy.
        indices: for each image (N,) the mask of each box.
        size: height and width of the targets.
        soft: the covered share of each pixel, in sixteenths.

    Returns:
        (sum of N, m, m) float32.
    """
    first = np.cumsum([0] + [outlines.number for outlines in images])
    index = torch.cat([rows + int(i) for rows, i in zip(indices, first, strict=False)])
    every, stacked = torch.cat(list(boxes)).detach(), _stacked(images)
    if soft:
        fine = (size[0] * _SUBPIXELS, size[1] * _SUBPIXELS)
        drawn = _draw(stacked, every, index, fine)
        return torch.nn.functional.avg_pool2d(drawn[:, None], _SUBPIXELS)[:, 0]
    return _draw(stacked, every, index, size)


def _stacked(images: Sequence[Outlines]) -> Outlines:
    """The masks of all images in a row."""
    parts = np.cumsum([0] + [image.parts for image in images])
    masks = np.cumsum([0] + [image.number for image in images])
    return Outlines(
        np.concatenate([image.edges for image in images]),
        np.concatenate([image.part + i for image, i in zip(images, parts, strict=False)]),
        np.concatenate([image.owner + i for image, i in zip(images, masks, strict=False)]),
        np.concatenate([image.is_window for image in images]),
        int(masks[-1]),
    )


def _draw(outlines: Outlines, boxes: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, m, m) float32 of the masks ``index`` (N,) in ``boxes`` (N, 4)."""
    if len(boxes) == 0:
        return boxes.new_zeros((0, *size), dtype=torch.float32)
    if boxes.device.type != "cpu":
        return _draw_at_once(outlines, boxes, index, size)
    # 1. where edges and parts of each mask stand
    of_part = np.searchsorted(outlines.owner, np.arange(outlines.number + 1))
    of_edge = np.searchsorted(outlines.part, of_part)
    most = max(int(np.diff(of_edge).max(initial=0)), 1)
    edges, part, is_window, of_part, of_edge = (
        torch.from_numpy(values)
        for values in (outlines.edges, outlines.part, outlines.is_window, of_part, of_edge)
    )
    # 2. corners relative to the box, in pixels of the target
    corner, scale = _frames(boxes, size)
    drawn = []
    for rows in torch.arange(len(boxes)).split(max(_MOST_EDGES // most, 1)):
        own = index[rows]
        edge, roi = _ranges(of_edge[own], of_edge[own + 1])
        local = edges[edge] - corner[rows][roi]
        local *= scale[rows][roi]
        # 3. one slot for each part of each RoI
        slot_part, slot_roi = _ranges(of_part[own], of_part[own + 1])
        number = of_part[own + 1] - of_part[own]
        first = number.cumsum(0) - number
        hit, column, row = crossings(local, size)
        slot = part[edge[hit]] - of_part[own][roi[hit]] + first[roi[hit]]
        filled = fill(slot, column, row, len(slot_part), size)
        # 4. in one of the parts, and outside of no window
        window = is_window[slot_part]
        votes = torch.zeros((2, len(rows), *size), dtype=torch.int32)
        votes[0].index_add_(0, slot_roi, (filled & ~window[:, None, None]).to(votes))
        votes[1].index_add_(0, slot_roi, (~filled & window[:, None, None]).to(votes))
        drawn.append(((votes[0] > 0) & (votes[1] == 0)).float())
    return torch.cat(drawn)


def _frames(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Corner of boxes (N, 4), and pixels of the target a pixel: (N, 4) x, y, x, y, float64."""
    boxes = boxes if boxes.dtype == torch.float64 else boxes.float()
    corner = boxes[:, :2]
    scale = constant((size[1], size[0]), boxes) / (boxes[:, 2:] - corner).clamp(min=1)
    both = torch.stack([corner, scale]).double()
    corner, scale = torch.cat([both, both], 2).unbind()
    return corner, scale


def _draw_at_once(
    outlines: Outlines, boxes: Tensor, index: Tensor, size: tuple[int, int]
) -> Tensor:
    """:func:`_draw` on a GPU, which nobody waits for: masks have tables of equal length."""
    # 1. of each mask its edges, their parts, and what the parts are; points are no edges
    first_part = np.searchsorted(outlines.owner, np.arange(outlines.number + 1))
    first_edge = np.searchsorted(outlines.part, first_part)
    most = max(int(np.diff(first_edge).max(initial=0)), 1)
    parts = max(int(np.diff(first_part).max(initial=0)), 1)
    of_edge = outlines.owner[outlines.part]
    place = np.arange(len(of_edge)) - first_edge[of_edge]
    edges = np.zeros((outlines.number, most, 4))
    edges[of_edge, place] = outlines.edges
    numbers = np.zeros((outlines.number, most + parts), np.int64)
    numbers[of_edge, place] = outlines.part - first_part[of_edge]
    of_part = np.arange(outlines.parts) - first_part[outlines.owner]
    numbers[outlines.owner, most + of_part] = np.where(outlines.is_window, _WINDOW, _SHAPE)
    device = boxes.device
    all_edges = torch.from_numpy(edges).to(device, non_blocking=True)
    all_numbers = torch.from_numpy(numbers).to(device, non_blocking=True)
    # 2. the masks of the boxes, in pixels of the target
    corner, scale = _frames(boxes, size)
    drawn = []
    step = max(_MOST_CROSSINGS // (most * size[1]), 1)
    for begin in range(0, len(boxes), step):
        rows = slice(begin, begin + step)
        local = (all_edges[index[rows]] - corner[rows, None]) * scale[rows, None]
        part, kind = all_numbers[index[rows]].split([most, parts], 1)
        filled = filled_at_once(local, part, parts, size)
        # 3. in one of the parts, and outside of no window; parts that are not there have no pixels
        if outlines.is_window.any():
            kind = kind[..., None, None]
            inside = (filled & (kind == _SHAPE)).any(1) & (filled | (kind != _WINDOW)).all(1)
        else:
            inside = filled.any(1) if parts > 1 else filled[:, 0]
        drawn.append(inside.transpose(1, 2).float())
    return torch.cat(drawn) if len(drawn) > 1 else drawn[0]


def _ranges(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The integers from ``start`` (N,) to ``end`` (N,) in a row, and the range of each."""
    number = end - start
    owner = torch.repeat_interleave(number)
    shift = start - (number.cumsum(0) - number)
    return torch.arange(len(owner), device=start.device) + shift[owner], owner
