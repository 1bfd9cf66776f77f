"""Masks and boxes on which pasting could go wrong, and mmdet's way to paste them."""

from __future__ import annotations

import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from torch import Tensor

HEIGHT, WIDTH = 61, 83


def random_masks(count: int, size: int, seed: int = 0) -> Tensor:
    """(N, m, m) probabilities: blobs with holes, noise, and exact zeros, halves and ones."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 5, 5, generator=generator)
    logits = 4 * torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[:, 0]
    logits[1::5] += 3 * torch.randn(logits[1::5].shape, generator=generator)
    masks = logits.sigmoid()
    masks[2::7] = (masks[2::7] > 0.5).float()
    masks[3::11] = 0.5
    masks[4::13] = 1.0
    masks[5::17] = 0.0
    return masks


def random_boxes(count: int, seed: int = 0) -> Tensor:
    """(N, 4) boxes inside, partly and wholly outside, thin, degenerate, tiny, on whole pixels."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float32)
    center = torch.rand(count, 2, generator=generator) * size
    half = torch.rand(count, 2, generator=generator) * size / 2
    half[::9] *= 0.02
    half[1::9, 0] *= 0.01
    half[2::9, 1] *= 0.01
    half[3::9] *= 3
    boxes = torch.cat([center - half, center + half], 1)
    boxes[4::9] = boxes[4::9].round()
    boxes[5::31, 2] = boxes[5::31, 0]
    boxes[6::31, 3] = boxes[6::31, 1]
    boxes[7::31, 2:] = boxes[7::31, :2]
    boxes[8::31] += 200
    boxes[9::31] -= 200
    boxes[10::31] = torch.tensor([0.0, 0, WIDTH, HEIGHT])
    return boxes


def paste_as_mmdet(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float = 0.5
) -> Tensor:
    """(N, H, W) bool as in FCNMaskHead on a CPU; it fails on boxes wholly outside: empty masks."""
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool)
    for i in range(len(masks)):
        x1, y1, x2, y2 = boxes[i].tolist()
        if x1 - 1 >= width or y1 - 1 >= height or x2 + 1 <= 0 or y2 + 1 <= 0:
            continue
        values, region = _do_paste_mask(masks[i : i + 1, None], boxes[i : i + 1], height, width)
        pasted[i, region[0], region[1]] = values[0] >= threshold
    return pasted
