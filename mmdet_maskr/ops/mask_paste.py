"""Pasting of m x m masks into images: exactly mmdet's pixels, from two small matrix products.

mmdet samples each mask with ``grid_sample`` over a grid of crop pixels. Bilinear sampling on a
rectangular grid is separable: crop = Y M X^T, where Y (h, m) and X (w, m) hold two non-zero weights
a row. That is 2-3 times faster, and equal to within rounding; pixels so close to the threshold that
rounding could decide are asked of ``grid_sample`` itself, so that the masks are mmdet's bit by bit.

Symbols: N masks, m x m their size, H x W the image, h x w a crop of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops._workers import for_each

PIECE = 4  # masks that a thread takes at a time
CHUNK_PIXELS = 2**28  # of the float image that is pasted at once on a GPU: 1 GiB


class Crop(NamedTuple):
    """Part of the image that a mask can reach, and the mask's pixels there.

    ``inside`` is (h, w) bool, or (w, h) where columns were asked for.
    """

    index: int  # type: ignore[assignment]  # hides the method of tuples, which none here asks
    x0: int
    y0: int
    x1: int
    y1: int
    inside: np.ndarray


def paste_masks(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float = 0.5
) -> Tensor:
    """Paste masks into an image of their boxes' scale, as mmdet's FCNMaskHead does.

    Args:
        masks: (N, m, m) probabilities.
        boxes: (N, 4) xyxy in pixels of the image; they may lie partly or wholly outside of it.
        height: H.
        width: W.
        threshold: pixels with at least this probability are inside. A negative one gives the
            probabilities times 255 instead, for pictures.

    Returns:
        (N, H, W) bool, or uint8 for a negative threshold, on the masks' device.

    Raises:
        UserError: a box is infinite or NaN, or shapes disagree.
    """
    check_masks(masks, boxes)
    if masks.device.type != "cpu":
        return _paste_at_once(masks, boxes, height, width, threshold)
    if threshold < 0:
        pasted = torch.zeros(len(masks), height, width, dtype=torch.uint8)
        regions = regions_of(boxes.detach().float().numpy(), height, width)
        for i, (x0, y0, x1, y1) in enumerate(regions.tolist()):
            if x0 < x1 and y0 < y1:
                values = _do_paste_mask(masks[i : i + 1, None], boxes[i : i + 1], height, width)[0]
                pasted[i, y0:y1, x0:x1] = (values[0] * 255).to(torch.uint8)
        return pasted
    pasted = np.zeros((len(masks), height, width), np.bool_)

    def write(crop: Crop) -> None:
        pasted[crop.index, crop.y0 : crop.y1, crop.x0 : crop.x1] = crop.inside

    for_each_crop(write, masks, boxes, height, width, threshold)
    return torch.from_numpy(pasted)


def for_each_crop(
    work: Callable[[Crop], None],
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
    columns: bool = False,
) -> None:
    """Call ``work`` with the pixels of each mask, only where it can reach: around its box.

    Args:
        work: called in several threads, once for each mask that reaches into the image.
        masks: (N, m, m) probabilities, on a CPU.
        boxes: (N, 4) xyxy in pixels of the image.
        height: H.
        width: W.
        threshold: not negative; pixels with at least this probability are inside.
        columns: give crops as (w, h), each column contiguous, as COCO's RLE runs.
    """
    masks, boxes = masks.detach().float(), boxes.detach().float()
    corners = boxes.numpy()
    regions = regions_of(corners, height, width).tolist()

    def crop(i: int) -> None:
        x0, y0, x1, y1 = regions[i]
        if x0 >= x1 or y0 >= y1:
            return
        box_x0, box_y0, box_x1, box_y1 = corners[i]
        if box_x1 > box_x0 and box_y1 > box_y0:
            grid_x = _grid(x0, x1, box_x0, box_x1)
            grid_y = _grid(y0, y1, box_y0, box_y1)
            if columns:
                inside = _sample(masks[i], grid_x, grid_y, threshold, first_is_x=True)
            else:
                inside = _sample(masks[i], grid_y, grid_x, threshold, first_is_x=False)
        else:  # a line or a point: mmdet divides by zero here and replaces infinities
            values, _ = _do_paste_mask(masks[i, None, None], boxes[i, None], height, width)
            inside = (values[0] >= threshold).numpy()
            inside = np.ascontiguousarray(inside.T) if columns else inside
        work(Crop(i, x0, y0, x1, y1, inside))

    def crops_of(part: range) -> None:
        for i in part:
            crop(i)

    count = len(masks)
    for_each(crops_of, [range(i, min(i + PIECE, count)) for i in range(0, count, PIECE)])


def regions_of(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, 4) integers x0, y0, x1, y1: what mmdet pastes of a mask, empty outside of the image."""
    low = np.maximum(np.floor(boxes[:, :2]) - 1, 0)
    high = np.minimum(np.ceil(boxes[:, 2:]) + 1, np.array([width, height], np.float32))
    limits = np.array([width, height], np.float32)
    return np.concatenate([np.minimum(low, limits), np.maximum(high, 0)], 1).astype(np.int64)


def check_masks(masks: Tensor, boxes: Tensor) -> None:
    """Check shapes, (N, m, m) and (N, 4), and that the boxes are numbers.

    Raises:
        UserError: with the first box that is infinite or NaN.
    """
    if masks.dim() != 3 or boxes.shape != (len(masks), 4):
        raise UserError(
            f"masks must be (N, m, m) and boxes (N, 4); got {tuple(masks.shape)} and "
            f"{tuple(boxes.shape)}."
        )
    finite = torch.isfinite(boxes).all(1)
    if not bool(finite.all()):
        i = int((~finite).int().argmax())
        raise UserError(
            f"box {i} of {len(boxes)} is {boxes[i].tolist()}: no mask can be pasted there. "
            "NaN mostly means that training has diverged."
        )


def _grid(start: int, stop: int, box_start: np.float32, box_stop: np.float32) -> np.ndarray:
    """Pixel centres of a crop in the box's coordinates -1 to 1: mmdet's operations, in float32."""
    centres = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    return (centres - box_start) / (box_stop - box_start) * np.float32(2) - np.float32(1)


def _sample(
    mask: Tensor, first: np.ndarray, second: np.ndarray, threshold: float, first_is_x: bool
) -> np.ndarray:
    """Which pixels of the crop ``first`` x ``second`` reach the threshold.

    Args:
        mask: (m, m).
        first: grid coordinates of the crop's first axis.
        second: those of its second axis.
        threshold: not negative.
        first_is_x: the first axis is the horizontal one.
    """
    size = len(mask)
    # float32 rounding of the sampling position (up to m) times the steepest slope, twice, and some
    margin = 1e-6 * max(size, 16)
    values = _weights(first, size) @ (mask.T if first_is_x else mask) @ _weights(second, size).T
    distance = values.numpy()
    distance -= np.float32(threshold)
    inside = distance >= 0
    np.abs(distance, out=distance)
    if distance.min() <= margin:
        rows, cols = np.nonzero(distance <= margin)
        xs, ys = (first[rows], second[cols]) if first_is_x else (second[cols], first[rows])
        grid = torch.from_numpy(np.stack([xs, ys], 1)).view(1, 1, -1, 2)
        exact = F.grid_sample(mask[None, None], grid, align_corners=False)
        inside[rows, cols] = (exact >= threshold).view(-1).numpy()
    return inside


def _weights(grid: np.ndarray, size: int) -> Tensor:
    """(n, m) bilinear weights of mask pixels at each grid coordinate, zero beyond the mask."""
    position = (grid + np.float32(1)) * np.float32(size / 2) - np.float32(0.5)
    weights = position[:, None] - np.arange(size, dtype=np.float32)
    np.abs(weights, out=weights)
    np.subtract(np.float32(1), weights, out=weights)
    np.maximum(weights, 0, out=weights)
    return torch.from_numpy(weights)


def _paste_at_once(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float
) -> Tensor:
    """On a GPU: whole images, as many masks at a time as 1 GiB holds (mmdet's way)."""
    dtype = torch.bool if threshold >= 0 else torch.uint8
    pasted = torch.zeros(len(masks), height, width, dtype=dtype, device=masks.device)
    step = max(1, CHUNK_PIXELS // (height * width))
    for start in range(0, len(masks), step):
        part = slice(start, start + step)
        values, _ = _do_paste_mask(masks[part, None], boxes[part], height, width, skip_empty=False)
        pasted[part] = values >= threshold if threshold >= 0 else (values * 255).to(dtype)
    return pasted
