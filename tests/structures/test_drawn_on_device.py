"""Targets drawn on a GPU, which is there in pretence: the CPU's pixels, without a wait."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.structures.mask import PolygonMasks

from mmdet_maskr.benchmark.pretended_gpu import Counts, real
from mmdet_maskr.structures import drawing
from mmdet_maskr.structures.drawing import draw_in_boxes
from mmdet_maskr.structures.geometry_masks import GeometryMasks


def masks_of(kind: str) -> GeometryMasks:
    """Five masks in 60 x 80 pixels: one of two polygons, one of many corners."""
    rng = np.random.default_rng(3)
    polygons = [[rng.random(2 * n) * 70] for n in (3, 4, 9, 40)]
    polygons.append([rng.random(8) * 30, rng.random(6) * 30 + 30])
    if kind == "pixels":
        own = PolygonMasks(polygons, 60, 80).to_bitmap()
        masks = GeometryMasks(polygons, 60, 80)
        masks.masks = own.masks
        return masks
    masks = GeometryMasks(polygons, 60, 80)
    return masks.rotate((60, 80), 20.0).crop(np.array([5, 5, 70, 50])) if kind == "cut" else masks


@pytest.mark.parametrize("kind", ["polygons", "cut", "pixels"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("together", [1 << 22, 1000])
def test_pixels(
    pretended_gpu: Counts, monkeypatch: pytest.MonkeyPatch, kind: str, soft: bool, together: int
):
    monkeypatch.setattr(drawing, "_MOST_CROSSINGS", together)
    images = [masks_of(kind).outlines(), masks_of("polygons").outlines()]
    corner = torch.rand(2, 12, 2) * 40
    boxes = torch.cat([corner, corner + torch.rand(2, 12, 2) * 40], 2)
    boxes[0, 0, 2:] = boxes[0, 0, :2]  # a point
    index = torch.randint(5, (2, 12))
    expected = draw_in_boxes(images, [*boxes], [*index], (14, 10), soft)
    assert expected.any()
    on_device = [*boxes.to("cuda")], [*index.to("cuda")]
    draw_in_boxes(images, *on_device, (14, 10), soft)
    pretended_gpu.clear()
    found = draw_in_boxes(images, *on_device, (14, 10), soft)
    assert found.is_cuda
    assert pretended_gpu.totals()["syncs"] == 0
    assert pretended_gpu.totals()["copies"] == 2  # edges, and what they belong to
    torch.testing.assert_close(real(found), expected, rtol=0, atol=0)


def test_no_masks(pretended_gpu: Counts):
    """An image without objects next to one with some."""
    empty = GeometryMasks([], 60, 80).outlines()
    boxes = [torch.zeros(0, 4), torch.tensor([[0.0, 0, 60, 60]])]
    index = [torch.zeros(0, dtype=torch.long), torch.tensor([4])]
    images = [empty, masks_of("polygons").outlines()]
    expected = draw_in_boxes(images, boxes, index, (8, 8))
    found = draw_in_boxes(
        images, [b.to("cuda") for b in boxes], [i.to("cuda") for i in index], (8, 8)
    )
    torch.testing.assert_close(real(found), expected, rtol=0, atol=0)
