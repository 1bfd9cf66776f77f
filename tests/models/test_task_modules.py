"""Anchors and box coder in other codebases' conventions, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS

from mmdet_maskr.errors import UserError
from mmdet_maskr.models import SizedAnchorGenerator, WeightedBoxCoder

PYRAMID = dict(strides=[4, 8, 16, 32, 64], sizes=[[32], [64], [128], [256], [512]])


def test_detectron2_anchors_are_mmdets_by_size():
    """On a pyramid both agree; with several sizes a level, ratios vary fastest."""
    grids = [(80, 104), (40, 52), (20, 26), (10, 13), (5, 7)]
    ours = SizedAnchorGenerator(**PYRAMID).grid_priors(grids, device="cpu")
    stock = AnchorGenerator(strides=PYRAMID["strides"], ratios=[0.5, 1.0, 2.0], scales=[8])
    for a, b in zip(ours, stock.grid_priors(grids, device="cpu"), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    (base,) = SizedAnchorGenerator([16], [[32, 64]], [0.5, 1.0]).base_anchors
    wide = 32 * math.sqrt(2)
    expected = torch.tensor([[-wide, -wide / 2], [-32, -32], [-2 * wide, -wide], [-64, -64]]) / 2
    torch.testing.assert_close(base, torch.cat([expected, -expected], 1))


def test_offset_is_in_strides():
    (plain,) = SizedAnchorGenerator([16], [[32]]).base_anchors
    (moved,) = SizedAnchorGenerator([16], [[32]], center_offset=0.5).base_anchors
    torch.testing.assert_close(moved, plain + 8)


def test_torchvision_anchors_are_whole_pixels_on_its_own_strides():
    """32 pixels: 45 x 23, 32 x 32, 23 x 45 before rounding. 416 / 7 is 59, not 64."""
    generator = TASK_UTILS.build(
        dict(type="SizedAnchorGenerator", convention="torchvision", **PYRAMID)
    )
    assert generator.base_anchors[0].tolist() == [
        [-23, -11, 23, 11],
        [-16, -16, 16, 16],
        [-11, -23, 11, 23],
    ]
    grids = [(80, 104), (40, 52), (20, 26), (10, 13), (5, 7)]
    anchors = generator.grid_priors(grids, device="cpu")
    centers = [
        (level[:, :2] + level[:, 2:]).div(2).view(*grid, 3, 2)[..., 0, :]
        for level, grid in zip(anchors, grids, strict=True)
    ]
    assert centers[3][1, 1].tolist() == [32, 32]
    assert centers[4][1, 1].tolist() == [59, 64]
    (two,) = SizedAnchorGenerator([16], [[32, 64]], [1.0, 4.0], "torchvision").base_anchors
    assert two[:, 2].tolist() == [16, 32, 8, 16]  # sizes vary fastest


def test_bad_anchors():
    with pytest.raises(UserError, match=r"convention.*'detectron2', 'torchvision'.*'mmdet'"):
        SizedAnchorGenerator([16], [[32]], convention="mmdet")
    for sizes in ([[32]], [[32], [64, 128]]):
        with pytest.raises(UserError, match="sizes must be 2 lists"):
            SizedAnchorGenerator([8, 16], sizes)


def test_decoding():
    """A box of 20 x 10 moved by half its width, twice as wide; mmdet's, to rounding."""
    coder = WeightedBoxCoder([10, 10, 5, 5])
    box = torch.tensor([[10.0, 20, 30, 30]])
    deltas = torch.tensor([[5.0, 0, 5 * math.log(2), 0]])
    torch.testing.assert_close(coder.decode(box, deltas), torch.tensor([[10.0, 20, 50, 30]]))
    clipped = coder.decode(box, deltas, max_shape=(25, 40))
    torch.testing.assert_close(clipped, torch.tensor([[10.0, 20, 40, 25]]))

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(50, 2, generator=generator) * 100
    boxes = torch.cat([corners, corners + 1 + 50 * torch.rand(50, 2, generator=generator)], 1)
    deltas = 3 * torch.randn(50, 12, generator=generator)
    stock = DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2))
    expected = stock.decode(boxes, deltas, max_shape=(120, 130))
    torch.testing.assert_close(coder.decode(boxes, deltas, max_shape=(120, 130)), expected)
    target = boxes.flip(0)
    torch.testing.assert_close(coder.encode(boxes, target), stock.encode(boxes, target))
    torch.testing.assert_close(
        coder.decode(boxes, coder.encode(boxes, target)), target, atol=1e-3, rtol=0
    )


def test_only_growth_is_limited():
    coder = WeightedBoxCoder([1, 1, 1, 1])
    box = torch.tensor([[0.0, 0, 100, 100]])
    small = coder.decode(box, torch.tensor([[0.0, 0, -6, -6]]))
    torch.testing.assert_close(small[0, 2] - small[0, 0], torch.tensor(100 * math.exp(-6)))
    large = coder.decode(box, torch.tensor([[0.0, 0, 9, 0]]))
    torch.testing.assert_close(large[0, 2] - large[0, 0], torch.tensor(100 * 1000 / 16.0))


def test_no_boxes():
    coder = WeightedBoxCoder([1, 1, 1, 1])
    assert coder.decode(torch.zeros(0, 4), torch.zeros(0, 8)).shape == (0, 8)
