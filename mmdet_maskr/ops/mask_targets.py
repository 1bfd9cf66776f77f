"""Mask targets of positive RoIs: mmdet's, bit by bit, without one full bitmap per RoI.

Symbols: N positive RoIs, G ground truths of an image, m x m the target's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmcv.ops import roi_align
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.boxes import clipped

if TYPE_CHECKING:
    from mmdet.structures.mask import BaseInstanceMasks


def mask_targets(
    boxes: Sequence[Tensor],
    gt_indices: Sequence[Tensor],
    gt_masks: Sequence[BaseInstanceMasks],
    size: int | tuple[int, int],
    soft: bool = False,
) -> Tensor:
    """Crop each positive RoI from its ground truth's mask and resize it; all images of a batch.

    Args:
        boxes: for each image (N, 4) xyxy of the positive RoIs, in pixels of the network's input.
            Parts outside the image are cut off first, as mmdet does.
        gt_indices: for each image (N,) the ground truth of each RoI.
        gt_masks: for each image its G masks, bitmaps or polygons.
        size: m, or height and width.
        soft: keep the covered share of each bin instead of rounding it to 0 or 1. Bitmaps only.

    Returns:
        (sum of N, m, m) float32.

    Raises:
        UserError: ``soft`` with polygons.
    """
    pair = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    boxes = [inside_image(own, masks) for own, masks in zip(boxes, gt_masks, strict=True)]
    sizes = {(masks.height, masks.width) for masks in gt_masks}
    if len(sizes) == 1 and all(map(_are_bitmaps, gt_masks)):
        # the images' ground truths in a row, so that there is one call
        first = np.cumsum([0] + [len(masks) for masks in gt_masks])
        rows = torch.cat([own + int(i) for own, i in zip(gt_indices, first, strict=False)])
        bitmaps = [bitmap for masks in gt_masks for bitmap in masks.masks]
        return from_bitmaps(bitmaps, torch.cat(boxes), rows, pair, soft)
    targets = [
        _of_one_image(*args, pair, soft) for args in zip(boxes, gt_indices, gt_masks, strict=True)
    ]
    return torch.cat(targets)


def inside_image(boxes: Tensor, gt_masks: BaseInstanceMasks) -> Tensor:
    """Boxes (N, 4) without what lies outside of the image, detached."""
    return clipped(boxes.detach(), (gt_masks.height, gt_masks.width))


def _are_bitmaps(masks: BaseInstanceMasks) -> bool:
    """Whether masks are an array (G, H, W); polygons are lists."""
    return isinstance(masks.masks, np.ndarray)


def _of_one_image(
    boxes: Tensor,
    gt_indices: Tensor,
    gt_masks: BaseInstanceMasks,
    size: tuple[int, int],
    soft: bool,
) -> Tensor:
    if _are_bitmaps(gt_masks):
        return from_bitmaps(gt_masks.masks, boxes, gt_indices, size, soft)
    if len(boxes) == 0:
        return boxes.new_zeros((0, *size), dtype=torch.float32)
    if soft:
        raise UserError(
            "soft_mask_target=True needs bitmaps: polygons give 0 or 1. Use poly2mask=True in "
            "LoadAnnotations."
        )
    cropped = gt_masks.crop_and_resize(
        boxes.cpu().numpy(), size, inds=gt_indices.cpu().numpy(), device=boxes.device
    )
    return torch.from_numpy(cropped.to_ndarray()).to(boxes.device, torch.float32)


def from_bitmaps(
    bitmaps: Sequence[np.ndarray],
    boxes: Tensor,
    gt_indices: Tensor,
    size: tuple[int, int],
    soft: bool,
) -> Tensor:
    """Targets by mmcv's RoIAlign, with the ground truth's index as RoI's index in the batch.

    Args:
        bitmaps: G of (H, W), 0 or 1.
        boxes: (N, 4) xyxy inside the image.
        gt_indices: (N,).
        size: height and width of the targets.
        soft: keep averages.
    """
    if len(boxes) == 0:
        return boxes.new_zeros((0, *size), dtype=torch.float32)
    used, batch_index = torch.unique(gt_indices, return_inverse=True)
    rois = torch.cat([batch_index[:, None].to(boxes), boxes], 1)
    if boxes.device.type == "cpu":
        images = _needed_parts(bitmaps, boxes, used, batch_index)
    else:
        chosen = np.stack([bitmaps[gt] for gt in used.tolist()])
        images = torch.from_numpy(chosen).to(boxes.device).to(boxes.dtype)
    shares = roi_align(images[:, None], rois, size, 1.0, 0, "avg", True)[:, 0]
    return shares if soft else (shares >= 0.5).to(torch.float32)


def _needed_parts(
    bitmaps: Sequence[np.ndarray], boxes: Tensor, used: Tensor, batch_index: Tensor
) -> Tensor:
    """Bitmaps as floats where a RoI looks; the rest is not written, so costs no memory traffic.

    RoIAlign reads the pixels around each sample inside the box: the hull of a ground truth's boxes
    and one pixel more on each side, two to be safe.
    """
    height, width = bitmaps[0].shape
    images = torch.empty((len(used), height, width), dtype=boxes.dtype)
    low = torch.full((len(used), 2), float("inf"), dtype=boxes.dtype)
    high = torch.zeros((len(used), 2), dtype=boxes.dtype)
    index = batch_index[:, None].expand(-1, 2)
    low.scatter_reduce_(0, index, boxes[:, :2], "amin")
    high.scatter_reduce_(0, index, boxes[:, 2:], "amax")
    low = (low.floor() - 2).clamp(min=0).long().tolist()
    high = (high.ceil() + 3).long().tolist()
    written = images.numpy()
    for i, gt in enumerate(used.tolist()):
        (x0, y0), (x1, y1) = low[i], high[i]
        written[i, y0:y1, x0:x1] = bitmaps[gt][y0:y1, x0:x1]
    return images
