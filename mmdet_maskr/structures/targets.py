"""Mask targets of positive RoIs, from masks of any kind.

Symbols: N positive RoIs, G ground truths of an image, m x m the target's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures.mask import BaseInstanceMasks
from torch import Tensor

from mmdet_maskr.ops.mask_targets import inside_image, mask_targets
from mmdet_maskr.structures.drawing import draw_in_boxes
from mmdet_maskr.structures.geometry_masks import GeometryMasks


def known_of(gt_indices: Sequence[Tensor], gt_masks: Sequence[BaseInstanceMasks]) -> Tensor | None:
    """Which positive RoIs are of ground truths whose mask is known; None where all are.

    Args:
        gt_indices: for each image (N,) the ground truth of each RoI.
        gt_masks: for each image its G masks.

    Returns:
        (sum of N,) bool.
    """
    known = [
        masks.known if isinstance(masks, GeometryMasks) else np.ones(len(masks), bool)
        for masks in gt_masks
    ]
    if all(own.all() for own in known):
        return None
    return torch.cat(
        [
            torch.from_numpy(own).to(rows.device)[rows]
            for own, rows in zip(known, gt_indices, strict=True)
        ]
    )


def targets_of(
    boxes: Sequence[Tensor],
    gt_indices: Sequence[Tensor],
    gt_masks: Sequence[BaseInstanceMasks],
    size: int | tuple[int, int],
    soft: bool = False,
) -> Tensor:
    """Each positive RoI's part of its ground truth's mask; all images of a batch.

    GeometryMasks are drawn at the target's size (:func:`.draw_in_boxes`), other masks go the way of
    :func:`mmdet_maskr.ops.mask_targets.mask_targets`.

    Args:
        boxes: for each image (N, 4) xyxy of the positive RoIs, in pixels of the network's input.
            Parts outside the image are cut off first, as mmdet does.
        gt_indices: for each image (N,) the ground truth of each RoI.
        gt_masks: for each image its G masks.
        size: m, or height and width.
        soft: the covered share of each pixel instead of 0 or 1; not of mmdet's polygons.

    Returns:
        (sum of N, m, m) float32.

    Raises:
        UserError: ``soft`` with mmdet's polygons.
    """
    kinds = [isinstance(masks, GeometryMasks) for masks in gt_masks]
    if not any(kinds):
        return mask_targets(boxes, gt_indices, gt_masks, size, soft)
    pair = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if all(kinds):
        cut = [inside_image(own, masks) for own, masks in zip(boxes, gt_masks, strict=True)]
        outlines = [masks.outlines() for masks in gt_masks]
        return draw_in_boxes(outlines, cut, gt_indices, pair, soft)
    images = zip(boxes, gt_indices, gt_masks, strict=True)
    return torch.cat([targets_of([b], [i], [masks], pair, soft) for b, i, masks in images])
