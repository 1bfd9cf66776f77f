"""Tiles: where they lie, and objects that come back once and whole, at any cut."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask
import pytest

from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.sinks import Collected
from mmdet_maskr.inference.tiles.grid import Tile, Tiling, check_tiling
from mmdet_maskr.inference.tiles.model import TiledModel
from mmdet_maskr.inference.tiles.rasters import Pixels, Raster
from mmdet_maskr.inference.tiles.seams import Seams
from mmdet_maskr.inference.walk import Image, Unreadable, walk

CLASSES = 3


class Found(NamedTuple):
    lists: dict[str, Any]


class Painted:
    """Detects what is painted: object v, of the class v % 3, has the pixels of the value v.

    Keypoints are the first and last pixel from left to right; where the tile's border may cut an
    object, there is little evidence of its end.

    Args:
        least: smaller parts are overlooked.
        shift: of masks and boxes in pixels, to the right in every second tile.
        masks: give masks.
    """

    def __init__(self, least: int = 1, shift: int = 0, masks: bool = True) -> None:
        self.least, self.shift, self.masks = least, shift, masks
        self.batches: list[int] = []

    def prepare(self, image: Image) -> np.ndarray:
        return image.content

    def detect(self, prepared: list[np.ndarray]) -> list[Found]:
        self.batches.append(len(prepared))
        return [Found(self._lists(tile[..., 0])) for tile in prepared]

    def _lists(self, tile: np.ndarray) -> dict[str, list]:
        found: dict[str, list] = dict(labels=[], scores=[], bboxes=[], masks=[], keypoints=[],
                                      keypoint_scores=[])  # fmt: skip
        shift = self.shift * (len(self.batches) % 2)
        for value in np.setdiff1d(tile, [0]).tolist():
            mask = np.roll(tile == value, shift, 1)
            mask[:, :shift] = False
            if mask.sum() < self.least:
                continue
            ys, xs = np.nonzero(mask)
            low, high = xs.min(), xs.max()
            found["labels"].append(value % CLASSES)
            found["scores"].append(0.5 + mask.sum() / 1e6)
            found["bboxes"].append([low, ys.min(), high + 1, ys.max() + 1])
            found["masks"].append(pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8))))
            ends, sure = [], []
            for x in (low, high):
                rows = ys[xs == x]
                is_cut = {x, *rows} & {0, len(tile) - 1, tile.shape[1] - 1}
                ends.append([x + 0.5, rows[0] + 0.5])
                sure.append(0.1 if is_cut else 0.9)
            found["keypoints"].append(ends)
            found["keypoint_scores"].append(sure)
        if not self.masks:
            del found["masks"]
        return found


def detect(picture: np.ndarray, detector: Painted, tiling: Tiling, batch_size: int = 3) -> dict:
    """What the walk gives for a picture (H, W) of values."""

    def open_pixels(image: Image) -> Raster:
        return Pixels(image.content)

    model = TiledModel(
        detector, tiling, open_pixels, lambda image, raster, lists: Found(lists), batch_size
    )
    kept = Collected()
    walk([picture[..., None]], model, [kept])
    return kept.results[0]


def ellipses(height: int, width: int, step: int, radii: tuple[int, int]) -> np.ndarray:
    """(H, W) ellipses that do not touch, in rows ``step`` pixels apart; of random size and tilt."""
    picture = np.zeros((height, width), np.int32)
    y, x = np.mgrid[:height, :width]
    for i, (cy, cx) in enumerate(np.ndindex(height // step, width // step), start=1):
        a, b = np.random.randint(*radii, 2)
        dy, dx = y - (cy + 0.5) * step, x - (cx + 0.5) * step
        picture[(dx / a) ** 2 + (dy / b) ** 2 < 1] = i
    return picture


def check_whole(found: dict, picture: np.ndarray, least_iou: float = 1.0) -> None:
    """Each object of the picture is found once, with its mask."""
    values = np.setdiff1d(picture, [0]).tolist()
    assert len(found["labels"]) == len(values)
    masks = pycocotools.mask.decode(found["masks"]).transpose(2, 0, 1).astype(bool)
    seen = []
    for mask, label in zip(masks, found["labels"], strict=True):
        value = np.bincount(picture[mask]).argmax()
        seen.append(value)
        truth = picture == value
        assert (mask & truth).sum() >= least_iou * (mask | truth).sum()
        assert label == value % CLASSES
    assert sorted(seen) == values


def test_tiles_cover_an_image_evenly():
    tiling = Tiling(100, 0.2)
    tiles = tiling.tiles(250, 431)
    seen = np.zeros((250, 431), int)
    for tile in tiles:
        assert tile.x1 - tile.x0 == tile.y1 - tile.y0 == 100
        seen[tile.y0 : tile.y1, tile.x0 : tile.x1] += 1
    assert seen.min() == 1 and tiles[-1][2:] == (431, 250)
    starts = sorted({tile.x0 for tile in tiles})
    assert max(np.diff(starts)) <= 80 and np.ptp(np.diff(starts)) <= 1
    assert tiling.tiles(60, 180) == [Tile(0, 0, 100, 60), Tile(80, 0, 180, 60)]
    assert tiling.tiles(100, 100) == [Tile(0, 0, 100, 100)]
    assert len(Tiling(100, 0.0).tiles(200, 300)) == 6
    assert len(Tiling(32, 0.99).tiles(40, 32)) == 9, "a step is a pixel at least"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(tile=31), "smaller than the model's stride of 32"),
        (dict(tile=64, overlap=1), "overlap=1: it must be a fraction"),
        (dict(tile=64, overlap=-0.1), "overlap=-0.1"),
        (dict(tile=64, overlap="half"), "overlap='half'"),
        (dict(tile=64.0), "tile=64.0: it must be a side"),
        (dict(tile=True), "tile=True"),
        (dict(tile="auto"), "resizes by a factor"),
    ],
)
def test_bad_tiles(options: dict, message: str):
    given = dict(overlap=0.2, auto=None, stride=32) | options
    with pytest.raises(UserError, match=message):
        check_tiling(**given)


def test_auto():
    assert check_tiling("auto", 0.25, 800, 64) == Tiling(800, 0.25)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_objects_smaller_than_the_overlap(batch_size: int):
    """Each is whole in some tile, and is taken from there: also its box and keypoints."""
    picture = ellipses(230, 330, 26, (5, 12))
    detector = Painted()
    found = detect(picture, detector, Tiling(100, 0.3), batch_size)
    check_whole(found, picture)
    assert detector.batches[:-1] == [batch_size] * (len(detector.batches) - 1)
    assert found["scores"] == sorted(found["scores"], reverse=True)
    check_boxes_and_ends(found, picture)


@pytest.mark.parametrize("radii", [(30, 48), (60, 95)])
def test_objects_larger_than_the_overlap(radii: tuple[int, int]):
    """Up to a whole tile and more: pieces of two to nine tiles are one object."""
    picture = ellipses(400, 600, 200, radii)
    found = detect(picture, Painted(), Tiling(100, 0.2))
    check_whole(found, picture)
    check_boxes_and_ends(found, picture)


def check_boxes_and_ends(found: dict, picture: np.ndarray) -> None:
    """Boxes are those of the objects, and keypoints their ends from left to right."""
    masks = pycocotools.mask.decode(found["masks"]).transpose(2, 0, 1)
    for mask, box, ends, scores in zip(
        masks, found["bboxes"], found["keypoints"], found["keypoint_scores"], strict=True
    ):
        ys, xs = np.nonzero(mask)
        assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert [ends[0][0], ends[1][0]] == [xs.min() + 0.5, xs.max() + 0.5]
        assert scores == [0.9, 0.9]


def test_parts_that_are_overlooked():
    """Small parts of an object are not seen; what is seen is one object nevertheless."""
    picture = ellipses(400, 600, 66, (14, 30))
    found = detect(picture, Painted(least=250), Tiling(120, 0.25))
    check_whole(found, picture, least_iou=0.9)


def test_tiles_that_disagree():
    """Masks that differ by some pixels from tile to tile are joined, and none is left over."""
    picture = ellipses(400, 600, 66, (14, 30))
    found = detect(picture, Painted(least=60, shift=1), Tiling(120, 0.25), batch_size=1)
    check_whole(found, picture, least_iou=0.7)


def test_neighbors_of_a_class_stay_apart():
    """Bars side by side, a pixel apart, through several tiles."""
    picture = np.zeros((90, 400), np.int32)
    for i in range(8):
        picture[5 + 10 * i : 14 + 10 * i, 10:390] = 3 * i + 3
    found = detect(picture, Painted(), Tiling(100, 0.2))
    check_whole(found, picture)


def test_boxes_alone():
    """Without masks, boxes agree where both tiles look."""
    picture = ellipses(400, 600, 66, (14, 30))
    found = detect(picture, Painted(masks=False), Tiling(120, 0.25))
    values = np.setdiff1d(picture, [0])
    expected = []
    for value in values:
        ys, xs = np.nonzero(picture == value)
        expected.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    assert sorted(found["bboxes"]) == sorted(expected) and "masks" not in found


def test_an_image_smaller_than_a_tile_and_one_with_nothing():
    picture = ellipses(60, 80, 40, (10, 19))
    alone = Painted()._lists(picture)
    found = detect(picture, Painted(), Tiling(512, 0.2))
    assert sorted(found["bboxes"]) == sorted(alone["bboxes"])
    nothing = detect(np.zeros((300, 300), np.int32), Painted(), Tiling(100, 0.2))
    assert nothing.keys() == found.keys() and not any(nothing.values())


def test_classes_without_keypoints():
    """Their lists stay empty, also where pieces are joined."""
    tiles = [Tile(0, 0, 60, 50), Tile(40, 0, 100, 50)]
    seams = Seams(50, 100, tiles)
    for number, box in enumerate([[10, 10, 60, 30], [0, 10, 50, 30]]):
        points = [[[12.0 + 9 * number, 11.0]], []]
        seams.add(
            number,
            dict(labels=[0, 1], scores=[0.5, 0.9], bboxes=[box, box], keypoints=points,
                 keypoint_scores=[[0.3 + 0.4 * number], []]),
        )  # fmt: skip
    found = seams.joined()
    assert found["labels"] == [1, 0] and found["bboxes"] == [[10, 10, 90, 30]] * 2
    assert found["keypoints"] == [[], [[61.0, 11.0]]]
    assert found["keypoint_scores"] == [[], [0.7]]


def test_a_window_that_cannot_be_read(tmp_path):
    """The image is left out with the reason; others go on."""

    class Broken(Pixels):
        def read(self, tile: Tile) -> np.ndarray:
            raise Unreadable("a.tif", "a chunk is damaged")

    def open_one(image: Image) -> Raster:
        return (Broken if image.name == "a.tif" else Pixels)(np.ones((50, 50, 1), np.int32))

    model = TiledModel(Painted(), Tiling(64, 0.2), open_one, lambda image, raster, x: Found(x))
    kept = Collected()
    report = walk(["a.tif", "b.tif"], model, [kept])
    assert report.failed == {"a.tif": "a chunk is damaged"} and len(kept.results) == 1
    with pytest.raises(Unreadable, match=r"a\.tif.*a chunk is damaged"):
        walk(["a.tif"], model, [])
