"""Targets from geometry are what pycocotools draws of the polygon in its box."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.structures.mask import PolygonMasks, mask_target
from mmengine.config import ConfigDict
from torch import Tensor

from mmdet_maskr.ops.mask_targets import mask_targets
from mmdet_maskr.structures import GeometryMasks, targets_of

SIZE = (100, 120)  # height and width of the images here


def boxes_in(count: int, seed: int) -> Tensor:
    """Boxes inside, thin ones, and some that end on the border."""
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor([SIZE[1], SIZE[0]], dtype=torch.float32)
    ends = torch.rand(2, count, 2, generator=generator) * limits
    boxes = torch.cat([ends.amin(0), ends.amax(0)], 1)
    boxes[::7, 2:] = boxes[::7, :2] + 0.3
    boxes[1::7, 2:] = limits
    return boxes


def polygons_of(kind: str, seed: int, count: int = 6) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        if kind == "star":  # no edge crosses another
            angles = np.sort(rng.uniform(0, 2 * np.pi, 40))
            radius = rng.uniform(10, 40, 40)
            points = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None] + (60, 50)
            parts = [points]
        elif kind == "parts":
            parts = [rng.uniform(0, 60, (5, 2)), rng.uniform(40, 100, (4, 2))]
        elif kind == "crossing":
            parts = [rng.uniform(0, 100, (12, 2))]
        elif kind == "box":
            x, y, w, h = rng.uniform(5, 45, 4).round(2)
            parts = [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])]
        else:  # lines, points and slivers
            parts = [rng.uniform(0, 100, (3, 1)) * [[1, 2]], rng.uniform(50, 50.5, (5, 2))]
        drawn.append([part.reshape(-1) for part in parts])
    return drawn


@pytest.mark.parametrize("size", [28, 14, (7, 11)])
@pytest.mark.parametrize("kind", ["star", "parts", "crossing", "box", "flat"])
def test_every_class_of_polygon_equals_mmdets(kind: str, size):
    """All images in one call; mmdet asks pycocotools for each RoI."""
    parts = [polygons_of(kind, seed) for seed in range(3)]
    boxes = [boxes_in(count, seed) for seed, count in enumerate((50, 0, 30))]
    indices = [torch.arange(len(own)) % 6 for own in boxes]
    found = targets_of(boxes, indices, [GeometryMasks(p, *SIZE) for p in parts], size)
    stock = [PolygonMasks(p, *SIZE) for p in parts]
    expected = mask_target(
        [own.clone() for own in boxes], indices, stock, ConfigDict(mask_size=size)
    )
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert (found == expected).float().mean() >= 0.995
    # the same roundings in the same order, so none differs on this kind of processor
    assert torch.equal(found, expected) and (found.any() or kind == "flat")


def test_moved_polygons_equal_mmdets():
    parts = polygons_of("star", 0)
    boxes, indices = boxes_in(40, 3) * 1.5, torch.arange(40) % 6
    masks = GeometryMasks(parts, *SIZE).resize((150, 180)).flip()
    stock = PolygonMasks(parts, *SIZE).resize((150, 180)).flip()
    found = targets_of([boxes], [indices], [masks], 28)
    cfg = ConfigDict(mask_size=28)
    assert torch.equal(found, mask_target([boxes.clone()], [indices], [stock], cfg))
    # what mmdet's own heads ask for
    assert torch.equal(found, mask_target([boxes.clone()], [indices], [masks], cfg))


def test_a_code_with_a_hole():
    mask = np.zeros(SIZE, np.uint8)
    mask[10:50, 20:60] = 1
    mask[20:40, 30:50] = 0
    expected = torch.ones(28, 28)
    expected[7:21, 7:21] = 0
    masks = GeometryMasks([mask], *SIZE)
    first = torch.tensor([[20.0, 10, 60, 50]])
    for moved, box in (
        (masks, first),
        (masks.resize((150, 180)), first * 1.5),
        (masks.flip(), torch.tensor([[60.0, 10, 100, 50]])),
        (masks.crop(np.array([15, 5, 100, 90])), first - torch.tensor([15, 5, 15, 5])),
    ):
        assert torch.equal(targets_of([box], [torch.tensor([0])], [moved], 28)[0], expected)


def test_codes_and_polygons_of_one_object_agree():
    parts = polygons_of("star", 4)
    masks = GeometryMasks(parts, *SIZE)
    boxes, indices = masks.get_bboxes().tensor, torch.arange(6)
    of_polygons = targets_of([boxes], [indices], [masks], 28)
    codes = GeometryMasks(masks.to_rles(), *SIZE)
    of_codes = targets_of([boxes], [indices], [codes], 28)
    both = (of_polygons * of_codes).sum() / ((of_polygons + of_codes) > 0).sum()
    assert both > 0.92


def test_what_a_border_cut_off_is_no_target():
    """A polygon beyond the image, which is padded afterwards."""
    masks = GeometryMasks([[[80.0, 20, 200, 20, 200, 60, 80, 60]]], *SIZE).pad((100, 220))
    found = targets_of([torch.tensor([[80.0, 20, 160, 60]])], [torch.tensor([0])], [masks], 28)[0]
    assert found[:, :14].all() and not found[:, 14:].any()


@pytest.mark.parametrize("turn", [0.0, 30.0])
def test_soft_targets_are_covered_shares(turn: float):
    masks = GeometryMasks(polygons_of("star", 5), *SIZE).rotate(SIZE, turn)
    boxes, indices = masks.get_bboxes().tensor, torch.arange(6)
    found = targets_of([boxes], [indices], [masks], 28, soft=True)
    assert set((found * 16).unique().tolist()) <= set(range(17)) and found.unique().numel() > 5
    stock = mask_targets([boxes], [indices], [masks.to_bitmap()], 28, soft=True)
    assert (found - stock).abs().mean() < 0.06


def test_masks_of_several_kinds_in_a_batch():
    parts = polygons_of("star", 6)
    masks = GeometryMasks(parts, *SIZE)
    every = [masks, masks.to_bitmap(), PolygonMasks(parts, *SIZE)]
    boxes, indices = [boxes_in(9, seed) for seed in range(3)], [torch.arange(9) % 6] * 3
    found = targets_of(boxes, indices, every, 28).split(9)
    for part, box, index, own in zip(found, boxes, indices, every, strict=True):
        assert torch.equal(part, targets_of([box], [index], [own], 28))
    assert torch.equal(found[1], mask_targets(boxes[1:2], indices[1:2], [masks.to_bitmap()], 28))


def test_no_rois_and_no_masks():
    none, empty = torch.zeros(0, 4), GeometryMasks([], *SIZE)
    for masks in (empty, GeometryMasks(polygons_of("star", 0), *SIZE)):
        found = targets_of([none], [torch.zeros(0).long()], [masks], 28)
        assert found.shape == (0, 28, 28) and found.dtype == torch.float32
    assert len(empty.crop_and_resize(np.zeros((0, 4)), (28, 28), np.zeros(0, int))) == 0


def test_a_mask_of_no_polygon_is_empty():
    masks = GeometryMasks([[], polygons_of("star", 0)[0]], *SIZE)
    assert masks.areas[0] == 0 and masks.to_ndarray().shape == (2, *SIZE)
    boxes = torch.tensor([[5.0, 5, 90, 90]] * 2)
    found = targets_of([boxes], [torch.arange(2)], [masks], 14)
    assert not found[0].any() and found[1].any()


def test_boxes_of_half_precision():
    masks = GeometryMasks(polygons_of("star", 8), *SIZE)
    boxes, indices = boxes_in(12, 8).bfloat16(), torch.arange(12) % 6
    found = targets_of([boxes], [indices], [masks], 28)
    assert torch.equal(found, targets_of([boxes.float()], [indices], [masks], 28))


def test_many_edges_are_drawn_in_pieces(monkeypatch):
    masks = GeometryMasks(polygons_of("star", 7), *SIZE)
    boxes, indices = boxes_in(40, 7), torch.arange(40) % 6
    whole = targets_of([boxes], [indices], [masks], 28)
    monkeypatch.setattr("mmdet_maskr.structures.drawing._MOST_EDGES", 100)
    assert torch.equal(targets_of([boxes], [indices], [masks], 28), whole)


def test_coco_mini(coco_mini: Path):
    """Every polygon: equal to pycocotools', and near those of bitmaps of the same size."""
    content = json.loads((coco_mini / "annotations/instances_val2017.json").read_text())
    found = defaultdict(list)
    for annotation in content["annotations"]:
        if not annotation["iscrowd"]:
            found[annotation["image_id"]].append(annotation)
    same = total = 0
    overlaps: list[float] = []
    for image in content["images"]:
        own = found[image["id"]]
        if not own:
            continue
        size = (image["height"], image["width"])
        parts = [[np.array(p) for p in annotation["segmentation"]] for annotation in own]
        masks = GeometryMasks(parts, *size)
        boxes = torch.tensor([annotation["bbox"] for annotation in own])
        boxes[:, 2:] += boxes[:, :2]
        indices = torch.arange(len(own))
        ours = targets_of([boxes], [indices], [masks], 28)
        for target, box, polygons in zip(ours, boxes.clamp(min=0), parts, strict=True):
            corner, side = box[:2].double().numpy(), (box[2:] - box[:2]).clamp(min=1)
            scale = (28 / side).double().numpy()
            local = [((p.reshape(-1, 2) - corner) * scale).reshape(-1).tolist() for p in polygons]
            rle = pycocotools.mask.merge(pycocotools.mask.frPyObjects(local, 28, 28))
            same += int((target.numpy() == pycocotools.mask.decode(rle)).sum())
            total += target.numel()
        large = boxes * 2
        masks = masks.resize((2 * size[0], 2 * size[1]))
        a = targets_of([large], [indices], [masks], 28)
        b = mask_targets([large], [indices], [masks.to_bitmap()], 28)
        overlap = (a * b).sum((1, 2)) / ((a + b) > 0).sum((1, 2)).clamp(min=1)
        overlaps += overlap[((a + b) > 0).any(2).any(1)].tolist()
    assert same >= 0.995 * total and total > 400_000
    assert np.mean(overlaps) >= 0.97
