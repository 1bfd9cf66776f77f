"""Masks drawn in boxes, at the boxes' own resolution: the targets of a mask head.

Symbols: N boxes, m x m pixels in each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmdet_maskr.ops.outline_fill import crossings, fill
from mmdet_maskr.structures.outlines import Outlines

_SUBPIXELS = 4  # along x and along y, for the covered share
_MOST_EDGES = 1 << 20  # that are looked at together


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
    # 1. where edges and parts of each mask stand
    of_part = np.searchsorted(outlines.owner, np.arange(outlines.number + 1))
    of_edge = np.searchsorted(outlines.part, of_part)
    most = max(int(np.diff(of_edge).max(initial=0)), 1)
    device = boxes.device
    edges, part, is_window, of_part, of_edge = (
        torch.from_numpy(values).to(device, non_blocking=True)
        for values in (outlines.edges, outlines.part, outlines.is_window, of_part, of_edge)
    )
    # 2. corners relative to the box, in pixels of the target
    boxes = boxes if boxes.dtype == torch.float64 else boxes.float()
    corner = boxes[:, :2].double()
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    scale = (boxes.new_tensor(size).flip(0) / sides).double()
    drawn = []
    for rows in torch.arange(len(boxes), device=device).split(max(_MOST_EDGES // most, 1)):
        own = index[rows]
        edge, roi = _ranges(of_edge[own], of_edge[own + 1])
        local = edges[edge] - corner[rows][roi].repeat(1, 2)
        local *= scale[rows][roi].repeat(1, 2)
        # 3. one slot for each part of each RoI
        slot_part, slot_roi = _ranges(of_part[own], of_part[own + 1])
        number = of_part[own + 1] - of_part[own]
        first = number.cumsum(0) - number
        hit, column, row = crossings(local, size)
        slot = part[edge[hit]] - of_part[own][roi[hit]] + first[roi[hit]]
        filled = fill(slot, column, row, len(slot_part), size)
        # 4. in one of the parts, and outside of no window
        window = is_window[slot_part]
        votes = torch.zeros((2, len(rows), *size), dtype=torch.int32, device=device)
        votes[0].index_add_(0, slot_roi, (filled & ~window[:, None, None]).to(votes))
        votes[1].index_add_(0, slot_roi, (~filled & window[:, None, None]).to(votes))
        drawn.append(((votes[0] > 0) & (votes[1] == 0)).float())
    return torch.cat(drawn)


def _ranges(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The integers from ``start`` (N,) to ``end`` (N,) in a row, and the range of each."""
    number = end - start
    owner = torch.repeat_interleave(number)
    shift = start - (number.cumsum(0) - number)
    return torch.arange(len(owner), device=start.device) + shift[owner], owner
