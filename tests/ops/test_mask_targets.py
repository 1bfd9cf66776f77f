"""Mask targets are mmdet's, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks, PolygonMasks, mask_target
from mmengine.config import ConfigDict

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_targets import mask_targets

HEIGHT, WIDTH = 75, 101


def bitmaps(count: int, seed: int) -> BitmapMasks:
    """Discs, boxes and noise, every other one with a hole."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks = []
    for i in range(count):
        cx, cy, radius = rng.uniform(10, 90), rng.uniform(10, 65), rng.uniform(5, 40)
        distance = np.hypot(x - cx, y - cy)
        mask = distance < radius
        if i % 3 == 1:
            mask = (abs(x - cx) < radius) & (abs(y - cy) < radius / 2)
        if i % 5 == 4:
            mask = rng.random((HEIGHT, WIDTH)) > 0.5
        if i % 2:
            mask &= distance > radius / 3
        masks.append(mask)
    return BitmapMasks(np.array(masks, np.uint8).reshape(-1, HEIGHT, WIDTH), HEIGHT, WIDTH)


def boxes_of(count: int, seed: int) -> torch.Tensor:
    """Boxes inside, partly and wholly outside, thin and empty."""
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor([WIDTH, HEIGHT], dtype=torch.float32)
    low = torch.rand(count, 2, generator=generator) * (limits + 60) - 40
    size = torch.rand(count, 2, generator=generator) * limits * 0.8
    size[::7] *= 0.02
    size[1::11, 0] = 0
    low[2::13] = low[2::13].round()
    size[2::13] = size[2::13].round()
    return torch.cat([low, low + size], 1)


@pytest.mark.parametrize("size", [14, 28, (7, 11)])
@pytest.mark.parametrize("soft", [False, True])
def test_equals_mmdet(size, soft: bool):
    boxes = [boxes_of(60, 0), boxes_of(0, 1), boxes_of(90, 2)]
    masks = [bitmaps(5, 0), bitmaps(3, 1), bitmaps(12, 2)]
    generator = torch.Generator().manual_seed(3)
    indices = [
        torch.randint(len(m), (len(b),), generator=generator)
        for b, m in zip(boxes, masks, strict=True)
    ]
    before = [b.clone() for b in boxes]
    ours = mask_targets(boxes, indices, masks, size, soft)
    assert all(torch.equal(b, kept) for b, kept in zip(boxes, before, strict=True))
    cfg = ConfigDict(mask_size=size, soft_mask_target=soft)
    expected = mask_target([b.clone() for b in boxes], indices, masks, cfg)
    assert ours.dtype == expected.dtype and torch.equal(ours, expected)
    assert 0.05 < ours.mean() < 0.6


def test_a_hole_is_a_hole():
    mask = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    mask[:, 10:50, 20:60] = 1
    mask[:, 20:40, 30:50] = 0
    target = mask_targets(
        [torch.tensor([[20.0, 10, 60, 50]])],
        [torch.tensor([0])],
        [BitmapMasks(mask, HEIGHT, WIDTH)],
        28,
    )
    expected = torch.ones(28, 28)
    expected[7:21, 7:21] = 0
    assert torch.equal(target[0], expected)


def test_polygons_equal_mmdet():
    triangle = np.array([10.0, 10, 70, 20, 30, 60])
    square = np.array([60.0, 30, 90, 30, 90, 70, 60, 70])
    masks = [PolygonMasks([[triangle], [triangle, square]], HEIGHT, WIDTH)]
    boxes = [boxes_of(40, 5)]
    indices = [torch.arange(40) % 2]
    ours = mask_targets(boxes, indices, masks, 28)
    expected = mask_target([boxes[0].clone()], indices, masks, ConfigDict(mask_size=28))
    assert ours.dtype == expected.dtype and torch.equal(ours, expected) and ours.any()
    with pytest.raises(UserError, match="soft_mask_target=True needs bitmaps"):
        mask_targets(boxes, indices, masks, 28, soft=True)


def test_no_positive_rois():
    for masks in (bitmaps(2, 0), bitmaps(0, 0), PolygonMasks([], HEIGHT, WIDTH)):
        targets = mask_targets([torch.zeros(0, 4)], [torch.zeros(0).long()], [masks], 28)
        assert targets.shape == (0, 28, 28) and targets.dtype == torch.float32
