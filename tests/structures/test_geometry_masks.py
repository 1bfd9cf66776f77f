"""Masks as geometry: bitmaps where pixels only move, one drawing at the final size where not."""

from __future__ import annotations

import copy
import json
import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BaseInstanceMasks, BitmapMasks, PolygonMasks

from mmdet_maskr.errors import UserError
from mmdet_maskr.structures import GeometryMasks

HEIGHT, WIDTH = 50, 70
POLYGONS = [
    [[5.2, 6, 40.7, 3.1, 33, 40, 10, 30.5]],
    [[50.0, 10, 66, 12, 60, 44], [3, 40, 20, 41, 12, 48]],  # two parts
    [[10.0, 10, 60, 40, 60, 10, 10, 40]],  # crosses itself
    [[-20.0, 20, 30, -15, 90, 30, 20, 80]],  # outside on all sides
    [[1.0, 1, 2, 2, 9, 9]],  # a line
    [[-30.0, -30, -10, -30, -20, -5]],  # elsewhere
]


def bitmaps() -> np.ndarray:
    """A disc with a hole and a speck in it, noise, all, nothing, the borders."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(x - 30, y - 22)
    disc = ((distance < 20) & (distance > 8)) | (distance < 3)
    noise = np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.5
    border = (x == 0) | (y == HEIGHT - 1) | (x == WIDTH - 1)
    every = [disc, noise, np.ones_like(disc), np.zeros_like(disc), border]
    return np.array(every, np.uint8)


def rle_of(mask: np.ndarray, form: str) -> dict:
    rle = pycocotools.mask.encode(np.asfortranarray(mask))
    if form == "bytes":
        return rle
    if form == "text":
        return dict(size=rle["size"], counts=rle["counts"].decode())
    flat = np.concatenate([[0], mask.T.reshape(-1), [2]])
    changes = np.flatnonzero(np.diff(flat))
    counts = np.diff(changes, prepend=0)
    return dict(size=list(mask.shape), counts=[int(n) for n in counts])


def codes(form: str = "bytes") -> GeometryMasks:
    return GeometryMasks([rle_of(mask, form) for mask in bitmaps()], HEIGHT, WIDTH)


def polygons() -> GeometryMasks:
    return GeometryMasks(POLYGONS, HEIGHT, WIDTH)


def mmdets() -> PolygonMasks:
    arrays = [[np.array(part, float) for part in parts] for parts in POLYGONS]
    return PolygonMasks(arrays, HEIGHT, WIDTH)


def same(found: BaseInstanceMasks, expected: BaseInstanceMasks) -> None:
    assert (found.height, found.width) == (expected.height, expected.width)
    np.testing.assert_array_equal(found.to_ndarray(), expected.to_ndarray())


WHOLE_PIXELS = {
    "nothing": lambda m: m,
    "horizontal": lambda m: m.flip(),
    "vertical": lambda m: m.flip("vertical"),
    "diagonal": lambda m: m.flip("diagonal"),
    "pad": lambda m: m.pad((60, 90)),
    "crop": lambda m: m.crop(np.array([10, 5, 55, 41])),
    "crop outside": lambda m: m.crop(np.array([-10, -5, 30, 99])),
    "crop a line": lambda m: m.crop(np.array([30, 5, 30, 41])),
    "expand": lambda m: m.expand(100, 120, 7, 9),
    "right": lambda m: m.translate((HEIGHT, WIDTH), 12),
    "up": lambda m: m.translate((HEIGHT, WIDTH), -9, "vertical"),
    "smaller": lambda m: m.translate((40, 30), -6),
    "larger": lambda m: m.translate((80, 90), -6),
    "twice": lambda m: m.resize((2 * HEIGHT, 2 * WIDTH)),
    "cut for good": lambda m: m.crop(np.array([10, 5, 55, 41])).expand(90, 90, 20, 20),
    "shifted away": lambda m: m.translate((HEIGHT, WIDTH), 30).translate((HEIGHT, WIDTH), -30),
    "half a turn": lambda m: m.rotate((HEIGHT, WIDTH), 180),
    "some": lambda m: m[np.array([3, 0])].flip(),
    "flags": lambda m: m[np.arange(len(m)) != 1],
    "one": lambda m: m[2],
    "none": lambda m: m[[]].pad((60, 90)).flip(),
    "slice": lambda m: m[1:3],
    "joined": lambda m: type(m).cat([m[[0]].flip(), m]),
}


@pytest.mark.parametrize("form", ["bytes", "text", "list"])
@pytest.mark.parametrize("name", WHOLE_PIXELS)
def test_codes_are_bitmaps_where_pixels_only_move(name: str, form: str):
    move = WHOLE_PIXELS[name]
    found, expected = move(codes(form)), move(BitmapMasks(bitmaps(), HEIGHT, WIDTH))
    same(found, expected)
    np.testing.assert_array_equal(found.areas, expected.areas)
    for kind in ("hbox", HorizontalBoxes):
        boxes = found.get_bboxes(kind)
        assert type(boxes) is HorizontalBoxes
        assert torch.equal(boxes.tensor, expected.get_bboxes(kind).tensor)
    same(pickle.loads(pickle.dumps(found)), expected)
    same(copy.deepcopy(found), expected)
    assert found.to_tensor(torch.float32, "cpu").dtype == torch.float32
    assert found.masks.dtype == np.uint8 and found.masks.flags.writeable


@pytest.mark.parametrize(
    "move",
    [
        lambda m: m,
        lambda m: m.resize((93, 131)),
        lambda m: m.rescale((333, 111)),
        lambda m: m.rescale(0.7).flip(),
        lambda m: m.flip("diagonal").resize((20, 200)),
        lambda m: m.pad((60, 90))[[0, 1, 2, 4]],
    ],
)
def test_polygons_are_drawn_once_at_the_final_size(move):
    """As mmdet's polygons, which pycocotools draws."""
    same(move(polygons()), move(mmdets()))


def test_what_lies_outside_is_cut_off_at_every_border():
    found = polygons().pad((90, 120))
    assert not found.to_ndarray()[:, HEIGHT:].any() and not found.to_ndarray()[..., WIDTH:].any()
    same(found, BitmapMasks(polygons().to_ndarray(), HEIGHT, WIDTH).pad((90, 120)))
    expanded = polygons().expand(150, 170, 40, 50)
    bitmaps = BitmapMasks(polygons().to_ndarray(), HEIGHT, WIDTH).expand(150, 170, 40, 50)
    # pycocotools rounds corners below zero up, others to the nearest
    assert (expanded.to_ndarray() != bitmaps.to_ndarray()).sum() <= 2


TURNS = {
    "rotate": lambda m: m.rotate((HEIGHT, WIDTH), 25),
    "about a corner": lambda m: m.rotate((HEIGHT, WIDTH), -15, center=(0, 0), scale=0.8),
    "shear x": lambda m: m.shear((HEIGHT, WIDTH), 0.4),
    "shear y": lambda m: m.shear((HEIGHT, WIDTH), -0.3, "vertical"),
    "part of a pixel": lambda m: m.translate((HEIGHT, WIDTH), 3.7),
    "cut, then turned": lambda m: (
        m.crop(np.array([15, 5, 55, 45]))
        .pad((HEIGHT, WIDTH))
        .rotate((HEIGHT, WIDTH), 40)
        .rotate((HEIGHT, WIDTH), -60)
    ),
}


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("make", [codes, polygons])
def test_turned_as_bitmaps_are(name: str, make):
    masks = make()
    found = TURNS[name](masks).to_ndarray() > 0
    expected = TURNS[name](masks.to_bitmap()).to_ndarray() > 0
    compared = 0
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if (make is codes and i in (1, 4)) or (a | b).sum() < 150:
            continue  # bitmaps of single pixels do not survive a rotation
        compared += 1
        assert (a & b).sum() > 0.91 * (a | b).sum(), i
    assert compared >= 2


def test_a_code_that_is_turned_has_no_cracks():
    """Borders between the runs of two columns are no edges."""
    whole = GeometryMasks([np.ones((HEIGHT, WIDTH), np.uint8)], HEIGHT, WIDTH)
    middle = np.s_[15:35, 25:45]
    for angle in range(0, 90, 7):
        assert whole.rotate((HEIGHT, WIDTH), angle).to_ndarray()[0][middle].all()


def test_pixels_may_be_changed():
    masks = codes()
    masks.masks[:, 10:30, 10:30] = 0
    expected = bitmaps()
    expected[:, 10:30, 10:30] = 0
    same(masks.flip(), BitmapMasks(expected, HEIGHT, WIDTH).flip())
    assert len(masks) == len(expected)
    masks.masks = expected[:2].astype(np.int64)  # as CopyPaste does
    assert len(masks) == 2
    same(masks.pad((60, 90)), BitmapMasks(expected[:2], HEIGHT, WIDTH).pad((60, 90)))
    same(pickle.loads(pickle.dumps(masks)), BitmapMasks(expected[:2], HEIGHT, WIDTH))


def test_looking_at_pixels_changes_nothing():
    looked = polygons()
    assert looked.masks.any() and len(list(looked)) == len(POLYGONS)
    looked.masks[0, 0, 0] = 1  # of one mask alone
    found, expected = looked.resize((500, 700)), polygons().resize((500, 700))
    same(found[1:], expected[1:])
    assert found.to_ndarray()[0, :10, :10].all()


def test_values_outside_that_only_bitmaps_hold():
    plain = BitmapMasks(bitmaps(), HEIGHT, WIDTH)
    for move in (
        lambda m: m.pad((60, 90), pad_val=7),
        lambda m: m.translate((HEIGHT, WIDTH), 9, border_value=1),
        lambda m: m.shear((HEIGHT, WIDTH), 0.2, border_value=1),
        lambda m: m.rotate((HEIGHT, WIDTH), 10, border_value=1),
    ):
        same(move(codes()), move(plain))


def test_made_of_anything():
    mixed = [POLYGONS[0], rle_of(bitmaps()[0], "text"), bitmaps()[1], bitmaps()[1] > 0]
    found = GeometryMasks(mixed, HEIGHT, WIDTH).to_ndarray()
    np.testing.assert_array_equal(found[0], polygons().to_ndarray()[0])
    np.testing.assert_array_equal(found[1:], bitmaps()[[0, 1, 1]])
    same(GeometryMasks(bitmaps(), HEIGHT, WIDTH), BitmapMasks(bitmaps(), HEIGHT, WIDTH))
    made = GeometryMasks.random(4, 30, 40, rng=0)
    assert len(made) == 4 and made.to_ndarray().shape == (4, 30, 40) and made.areas.all()
    empty = GeometryMasks([], 30, 40)
    assert empty.to_ndarray().shape == (0, 30, 40) and empty.areas.shape == (0,)
    assert empty.get_bboxes().tensor.shape == (0, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(size=[WIDTH, HEIGHT], counts=[HEIGHT * WIDTH]),
        dict(size=[HEIGHT, WIDTH], counts=[HEIGHT * WIDTH - 1]),
        dict(size=[HEIGHT, WIDTH], counts=[-1, HEIGHT * WIDTH + 1]),
        dict(counts=[HEIGHT * WIDTH]),
        [[1.0, 2, 3]],
        np.zeros((HEIGHT, WIDTH - 1)),
        "polygon",
        None,
    ],
)
def test_wrong_masks(wrong):
    with pytest.raises(UserError):
        GeometryMasks([wrong], HEIGHT, WIDTH)


def test_a_code_that_is_cut_off_is_found_when_it_is_drawn():
    rle = rle_of(bitmaps()[0], "text")
    masks = GeometryMasks([dict(rle, counts=rle["counts"][:-4])], HEIGHT, WIDTH).flip()
    with pytest.raises(UserError, match="do not fill"):
        masks.to_ndarray()


def test_joined_only_where_sizes_agree():
    with pytest.raises(ValueError, match="one size"):
        GeometryMasks.cat([codes(), codes().pad((99, 99))])
    with pytest.raises(ValueError):
        GeometryMasks.cat([])
    same(GeometryMasks.stack([codes()[0], codes()[1]]), codes()[:2])
    with pytest.raises(IndexError):
        codes()[99]


def test_every_annotation_of_coco_mini(coco_mini: Path):
    """Bit for bit what LoadAnnotations(poly2mask=True) draws; moved, mmdet's polygons."""
    content = json.loads((coco_mini / "annotations/instances_val2017.json").read_text())
    found = defaultdict(list)
    for annotation in content["annotations"]:
        found[annotation["image_id"]].append(annotation["segmentation"])
    for image in content["images"][::6]:
        size = (image["height"], image["width"])
        given = found[image["id"]]
        polygons = [mask for mask in given if isinstance(mask, list)]
        crowds = [mask for mask in given if isinstance(mask, dict)]
        bits = [pycocotools.mask.merge(pycocotools.mask.frPyObjects(m, *size)) for m in polygons]
        bits += [pycocotools.mask.frPyObjects(m, *size) for m in crowds]
        masks = GeometryMasks([*polygons, *crowds], *size)
        if bits:
            expected = pycocotools.mask.decode(bits).transpose(2, 0, 1)
            np.testing.assert_array_equal(masks.to_ndarray(), expected)
        stock = PolygonMasks([[np.array(p) for p in parts] for parts in polygons], *size)
        same(GeometryMasks(polygons, *size).rescale((1333, 800)), stock.rescale((1333, 800)))


def test_copies_share_shapes_and_change_alone():
    """A deep copy is cheap, as detectors make one of each batch; its pixels are its own."""
    masks = GeometryMasks([[[1.0, 1, 8, 1, 8, 8]], [[2.0, 2, 5, 2, 5, 5]]], 10, 10)
    masks = masks.crop(np.array([0, 0, 6, 6]))
    before = masks.to_ndarray()
    own = copy.deepcopy(masks)
    assert all(a is b for a, b in zip(own.shapes, masks.shapes, strict=True))
    assert all(a is b for a, b in zip(own.windows, masks.windows, strict=True))
    own.masks[:] = 0
    own.matrices[:] = 0
    assert own.to_ndarray().sum() == 0
    assert before.any()
    np.testing.assert_array_equal(masks.to_ndarray(), before)
