"""Pasting of m x m masks into images: exactly mmdet's pixels, from two small matrix products.

mmdet samples each mask with ``grid_sample`` over a grid of crop pixels. Bilinear sampling on a
rectangular grid is separable: crop = Y M X^T, where Y (h, m) and X (w, m) hold two non-zero weights
a row. That is 2-3 times faster, and equal to within rounding; pixels so close to the threshold that
rounding could decide are computed by ``grid_sample`` itself, so that the masks are mmdet's bit by
bit.

Symbols: N masks, m x m their size, H x W the image, h x w a crop of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.mask_crops import Crop, axis_weights, box_axis, regions_of
from mmdet_maskr.ops._workers import for_each
from mmdet_maskr.ops.late_checks import require

PIECE = 4  # masks that a thread takes at a time
CHUNK_PIXELS = 2**28  # of the float image that is pasted at once on a GPU: 1 GiB

# (masks, boxes, height, width, threshold, columns) -> the crop of mask i, None outside of the image
Crops = Callable[[Tensor, Tensor, int, int, float, bool], Callable[[int], Crop | None]]


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float = 0.5,
    crops: Crops | None = None,
) -> Tensor:
    """Paste masks into an image of their boxes' scale.

    Args:
        masks: (N, m, m) probabilities.
        boxes: (N, 4) xyxy in pixels of the image; they may lie partly or wholly outside of it.
        height: H.
        width: W.
        threshold: pixels with at least this probability are inside. A negative one gives the
            probabilities times 255 instead, for pictures.
        crops: a convention's; None for :func:`sampled_crops`.

    Returns:
        (N, H, W) bool, or uint8 for a negative threshold, on the masks' device.

    Raises:
        UserError: a box is infinite or NaN, shapes disagree, or a negative threshold for other
            crops.
    """
    check_masks(masks, boxes)
    if crops in (None, sampled_crops) and (threshold < 0 or masks.device.type != "cpu"):
        sample = _sample_grey if masks.device.type == "cpu" else _sample_at_once
        return sample(masks, boxes, height, width, threshold)
    if threshold < 0:
        raise UserError(
            f"mask_thr_binary={threshold} means gray masks, which this "
            "test_cfg.rcnn.convention does not support: use a threshold from 0 to 1."
        )
    pasted = np.zeros((len(masks), height, width), np.bool_)

    def write(i: int, crop: Crop) -> None:
        crop.paste(pasted[i])

    for_each_crop(write, masks, boxes, height, width, threshold, crops)
    return torch.from_numpy(pasted).to(masks.device)


def for_each_crop(
    work: Callable[[int, Crop], None],
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
    crops: Crops | None = None,
    columns: bool = False,
) -> None:
    """Call ``work`` with the pixels of each mask, only where it can reach: around its box.

    Args:
        work: called in several threads with index and crop of each mask that reaches into the
            image.
        masks: (N, m, m) probabilities; those of a GPU are copied.
        boxes: (N, 4) xyxy in pixels of the image.
        height: H.
        width: W.
        threshold: not negative; pixels with at least this probability are inside.
        crops: as for :func:`paste_masks`.
        columns: make crops whose columns are contiguous, as COCO's RLE runs.
    """
    masks, boxes = masks.detach().cpu().float(), boxes.detach().cpu().float()
    crop_of = (crops or sampled_crops)(masks, boxes, height, width, threshold, columns)

    def some(part: range) -> None:
        for i in part:
            crop = crop_of(i)
            if crop is not None:
                work(i, crop)

    count = len(masks)
    for_each(some, [range(i, min(i + PIECE, count)) for i in range(0, count, PIECE)])


def sampled_crops(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, columns: bool
) -> Callable[[int], Crop | None]:
    """mmdet's and Detectron2's way: masks (N, m, m) sampled at the centers of pixels."""
    corners = boxes.numpy()
    regions = regions_of(corners, height, width).tolist()

    def crop_of(i: int) -> Crop | None:
        x0, y0, x1, y1 = regions[i]
        if x0 >= x1 or y0 >= y1:
            return None
        grid_x = box_axis(x0, x1, corners[i, 0], corners[i, 2])
        grid_y = box_axis(y0, y1, corners[i, 1], corners[i, 3])
        if columns:
            return Crop(_sample(masks[i], grid_x, grid_y, threshold, True).T, x0, y0)
        return Crop(_sample(masks[i], grid_y, grid_x, threshold, False), x0, y0)

    return crop_of


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
    finite = (boxes - boxes == 0).all(1)

    def explain() -> None:
        i = int((~finite).int().argmax())
        raise UserError(
            f"box {i} of {len(boxes)} is {boxes[i].tolist()}: no mask can be pasted "
            "there. NaN usually means that training has diverged."
        )

    require(finite.all(), explain)


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
    rows, columns = (torch.from_numpy(axis_weights(grid, size)) for grid in (first, second))
    distance = (rows @ (mask.T if first_is_x else mask) @ columns.T).numpy()
    distance -= np.float32(threshold)
    inside = distance >= 0
    np.abs(distance, out=distance)
    if distance.min() <= margin:
        at = np.nonzero(distance <= margin)
        xs, ys = (first[at[0]], second[at[1]]) if first_is_x else (second[at[1]], first[at[0]])
        grid = torch.from_numpy(np.stack([xs, ys], 1)).view(1, 1, -1, 2)
        exact = F.grid_sample(mask[None, None], grid, align_corners=False)
        inside[at] = (exact >= threshold).view(-1).numpy()
    return inside


def _sample_at_once(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float
) -> Tensor:
    """On a GPU: whole images, as many masks at a time as 1 GiB holds (mmdet's way)."""
    dtype = torch.bool if threshold >= 0 else torch.uint8
    if 0 < len(masks) <= CHUNK_PIXELS // (height * width):
        values = _values(masks, boxes, (0, width), (0, height))
        return values >= threshold if threshold >= 0 else (values * 255).to(dtype)
    pasted = torch.zeros(len(masks), height, width, dtype=dtype, device=masks.device)
    step = max(1, CHUNK_PIXELS // (height * width))
    for start in range(0, len(masks), step):
        part = slice(start, start + step)
        values = _values(masks[part], boxes[part], (0, width), (0, height))
        pasted[part] = values >= threshold if threshold >= 0 else (values * 255).to(dtype)
    return pasted


def _sample_grey(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float) -> Tensor:
    """On a CPU: the probabilities times 255, mask by mask."""
    pasted = torch.zeros(len(masks), height, width, dtype=torch.uint8)
    regions = regions_of(boxes.detach().float().numpy(), height, width)
    for i, (x0, y0, x1, y1) in enumerate(regions.tolist()):
        if x0 < x1 and y0 < y1:
            values = _values(masks[i : i + 1], boxes[i : i + 1], (x0, x1), (y0, y1))
            pasted[i, y0:y1, x0:x1] = (values[0] * 255).to(torch.uint8)
    return pasted


def _values(masks: Tensor, boxes: Tensor, x: tuple[int, int], y: tuple[int, int]) -> Tensor:
    """Probabilities (n, h, w) of the pixels in columns and rows [begin, end): mmdet's numbers."""

    def grid(pixels: tuple[int, int], low: Tensor, high: Tensor) -> Tensor:
        begin, end = pixels
        centers = torch.arange(begin + 0.5, end, device=boxes.device, dtype=torch.float32)
        at = (centers - low[:, None]) / (high - low)[:, None] * 2 - 1
        return at.nan_to_num(torch.nan, 0, 0)  # of a line

    grid_x, grid_y = grid(x, boxes[:, 0], boxes[:, 2]), grid(y, boxes[:, 1], boxes[:, 3])
    count, height, width = len(boxes), grid_y.shape[1], grid_x.shape[1]
    places = torch.stack(
        [grid_x[:, None].expand(-1, height, -1), grid_y[:, :, None].expand(count, -1, width)], 3
    )
    return F.grid_sample(masks[:, None].float(), places, align_corners=False)[:, 0]
