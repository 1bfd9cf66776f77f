"""Masks pasted as torchvision does it, against its steps one by one."""

from __future__ import annotations

import numpy as np
import pycocotools.mask
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_paste import paste_masks
from mmdet_maskr.ops.mask_resize import resized_crops
from mmdet_maskr.ops.mask_rle import encode_masks

HEIGHT, WIDTH = 60, 80


def cases() -> tuple[Tensor, Tensor]:
    """Masks of 7 x 7, and boxes inside, across each border, outside, small and without area."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(40, 7, 7, generator=generator)
    corners = torch.rand(40, 2, generator=generator) * torch.tensor([100.0, 80]) - 15
    boxes = torch.cat([corners, corners + 40 * torch.rand(40, 2, generator=generator)], 1)
    boxes[0] = torch.tensor([-30.0, -30, -20, -20])
    boxes[1] = torch.tensor([10.3, 10.7, 10.4, 10.8])
    boxes[2] = torch.tensor([20.0, 20, 20, 40])
    boxes[3] = torch.tensor([-20.0, -20, 120, 100])
    return masks, boxes


def whole_image(mask: Tensor, box: Tensor) -> np.ndarray:
    """One mask: padded, its box grown and cut to whole pixels, resized, laid into a canvas."""
    grown = 9 / 7
    center, half = (box[2:] + box[:2]) / 2, (box[2:] - box[:2]) / 2 * grown
    left, top = (int(v) for v in center - half)
    right, bottom = (int(v) for v in center + half)
    size = (bottom - top + 1, right - left + 1)
    resized = F.interpolate(F.pad(mask, (1, 1, 1, 1))[None, None], size, mode="bilinear")[0, 0]
    margin = 200
    canvas = torch.zeros(HEIGHT + 2 * margin, WIDTH + 2 * margin)
    canvas[margin + top : margin + bottom + 1, margin + left : margin + right + 1] = resized
    return (canvas[margin : margin + HEIGHT, margin : margin + WIDTH] >= 0.5).numpy()


def test_pixels():
    masks, boxes = cases()
    pasted = paste_masks(masks, boxes, HEIGHT, WIDTH, crops=resized_crops)
    expected = np.stack([whole_image(m, b) for m, b in zip(masks, boxes, strict=True)])
    assert pasted.dtype == torch.bool
    assert expected.any((1, 2)).sum() > 30 and not expected[0].any()
    assert np.array_equal(pasted.numpy(), expected)
    assert not torch.equal(pasted, paste_masks(masks, boxes, HEIGHT, WIDTH))


def test_rle_is_that_of_the_pasted_masks():
    masks, boxes = cases()
    pasted = paste_masks(masks, boxes, HEIGHT, WIDTH, crops=resized_crops).numpy()
    rles = encode_masks(masks, boxes, HEIGHT, WIDTH, crops=resized_crops)
    for rle, mask in zip(rles, pasted, strict=True):
        assert rle == pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def test_no_masks_and_bad_input():
    assert paste_masks(
        torch.zeros(0, 7, 7), torch.zeros(0, 4), 5, 6, crops=resized_crops
    ).shape == (0, 5, 6)
    masks, boxes = cases()
    with pytest.raises(UserError, match="gray"):
        paste_masks(masks, boxes, HEIGHT, WIDTH, -1, crops=resized_crops)
    boxes[5, 2] = float("nan")
    with pytest.raises(UserError, match="box 5"):
        paste_masks(masks, boxes, HEIGHT, WIDTH, crops=resized_crops)
