"""Merges detections of overlapping tiles: each object once, and complete.

Two tiles see the same pixels where they overlap, so what they found of one object agrees there,
also where both see only a part of it. Pieces that agree are put together, at most one of each tile,
since a detector does not find an object twice. Of the pieces of an object

- those that end well inside of their tile are whole: the one with the highest score is taken;
- otherwise the object is larger than the overlap: its mask is the union of the pieces', its box the
  one around theirs, and each keypoint is that of the piece which is surest of it.

The score is the highest of the pieces.

Symbols: D pieces, K keypoints.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmdet_maskr import run_sets
from mmdet_maskr.inference.tiles.grid import Tile
from mmdet_maskr.run_lengths import rles

AGREEMENT = 0.5  # of two pieces of one object, as an intersection over union
CONTAINED = 0.5  # of a piece that is cut, inside of another tile's object
MARGIN = 0.02  # of a tile's side: what ends nearer to the border than this is cut by it
LEAST_MARGIN = 4  # pixels


@dataclass
class Piece:
    """What a tile shows of an object.

    Attributes:
        tile: its number.
        label: class.
        score: of the detection.
        box: (4,) x1, y1, x2, y2 in pixels of the image.
        runs: of its mask in the image, see :mod:`mmdet_maskr.run_sets`; None without masks.
        points: (K, 3) x, y and score; None for an object without keypoints.
        room: how far the box is from the tile's inner borders in pixels; below 0 it is cut.
    """

    tile: int
    label: int
    score: float
    box: np.ndarray
    runs: np.ndarray | None
    points: np.ndarray | None
    room: float


@dataclass
class Seams:
    """Takes the findings of the tiles of an image, and joins them.

    Args:
        height: H of the image.
        width: W of the image.
        tiles: all tiles.
    """

    height: int
    width: int
    tiles: list[Tile]
    _pieces: list[Piece] = field(default_factory=list)
    _keys: set[str] = field(default_factory=set)

    def add(self, number: int, lists: Mapping[str, Any]) -> None:
        """Take what was found on a tile.

        Args:
            number: of the tile.
            lists: ``labels``, ``scores``, ``bboxes``, and perhaps ``masks``, ``keypoints`` and
                ``keypoint_scores``, in pixels of the tile.
        """
        tile = self.tiles[number]
        self._keys.update(lists)
        shift = np.array([tile.x0, tile.y0], np.float64)
        boxes = np.asarray(lists["bboxes"], np.float64).reshape(-1, 4) + np.tile(shift, 2)
        rooms = self._rooms(tile, boxes)
        for i, (label, score) in enumerate(zip(lists["labels"], lists["scores"], strict=True)):
            runs = points = None
            if "masks" in lists:
                rle = lists["masks"][i]
                runs = run_sets.moved(
                    run_sets.of_rle(rle), rle["size"][0], tile.x0, tile.y0, self.height
                )
            if "keypoints" in lists and len(lists["keypoints"][i]):
                scores = np.asarray(lists["keypoint_scores"][i], np.float64)[:, None]
                points = np.concatenate([np.asarray(lists["keypoints"][i]) + shift, scores], 1)
            piece = Piece(number, label, score, boxes[i], runs, points, float(rooms[i]))
            self._pieces.append(piece)

    def joined(self) -> dict[str, Any]:
        """The objects of the image, highest score first, as lists of the same keys.

        ``masks`` are COCO's RLEs with ``counts`` as strings.
        """
        objects = [self._object(group) for group in self._groups()]
        objects.sort(key=lambda piece: -piece.score)
        objects = [objects[i] for i in self._kept(objects)]
        lists: dict[str, Any] = dict(
            labels=[piece.label for piece in objects],
            scores=[piece.score for piece in objects],
            bboxes=[piece.box.tolist() for piece in objects],
        )
        if "masks" in self._keys:
            runs = [piece.runs for piece in objects if piece.runs is not None]
            encoded = rles(runs, (self.height, self.width))
            lists["masks"] = [dict(rle, counts=rle["counts"].decode()) for rle in encoded]
        if "keypoints" in self._keys:
            known = [np.zeros((0, 3)) if p.points is None else p.points for p in objects]
            lists["keypoints"] = [points[:, :2].tolist() for points in known]
            lists["keypoint_scores"] = [points[:, 2].tolist() for points in known]
        return lists

    def _rooms(self, tile: Tile, boxes: np.ndarray) -> np.ndarray:
        """(D,) pixels between boxes and the nearest border of the tile that is none of the image's,
        less the margin."""
        rooms = np.full(len(boxes), np.inf)
        sides = (
            (tile.x0 > 0, boxes[:, 0] - tile.x0),
            (tile.y0 > 0, boxes[:, 1] - tile.y0),
            (tile.x1 < self.width, tile.x1 - boxes[:, 2]),
            (tile.y1 < self.height, tile.y1 - boxes[:, 3]),
        )
        for inner, distance in sides:
            if inner:
                rooms = np.minimum(rooms, distance)
        return rooms - max(LEAST_MARGIN, MARGIN * max(tile.x1 - tile.x0, tile.y1 - tile.y0))

    # -------------------------------------------------------------------------------- which belong
    def _groups(self) -> list[list[Piece]]:
        """Pieces of one object each: those that agree most first, one of each tile."""
        pieces = self._pieces
        group_of = list(range(len(pieces)))
        groups = {i: [i] for i in group_of}
        for _, i, j in sorted(self._agreeing(), reverse=True):
            a, b = group_of[i], group_of[j]
            tiles = [pieces[k].tile for k in (*groups[a], *groups[b])]
            if a == b or len(set(tiles)) < len(tiles):
                continue
            for k in groups[b]:
                group_of[k] = a
            groups[a] += groups.pop(b)
        return [[pieces[i] for i in group] for group in groups.values()]

    def _agreeing(self) -> Iterator[tuple[float, int, int]]:
        """Pairs of pieces of two tiles that show one object, and how much they agree."""
        by_tile: dict[int, list[int]] = defaultdict(list)
        for i, piece in enumerate(self._pieces):
            by_tile[piece.tile].append(i)
        boxes = np.array([piece.box for piece in self._pieces]).reshape(-1, 4)
        numbers = sorted(by_tile)
        for a, first in enumerate(numbers):
            for second in numbers[a + 1 :]:
                shared = self.tiles[first].common(self.tiles[second])
                if not shared:
                    continue
                rows, columns = np.array(by_tile[first]), np.array(by_tile[second])
                inside = _boxes_in(boxes[rows], shared), _boxes_in(boxes[columns], shared)
                for r, c in zip(*np.nonzero(_overlap(*inside) > 0), strict=True):
                    i, j = int(rows[r]), int(columns[c])
                    agreement = self._agreement(self._pieces[i], self._pieces[j], shared)
                    if agreement > AGREEMENT:
                        yield agreement, i, j

    def _agreement(self, a: Piece, b: Piece, shared: Tile) -> float:
        """How much two pieces are the same where both their tiles look; 0 for other classes."""
        if a.label != b.label:
            return 0.0
        if a.runs is None or b.runs is None:
            inside = [_boxes_in(piece.box[None], shared) for piece in (a, b)]
            both = _overlap(*inside).item()
            areas = [_areas(box).item() for box in inside]
        else:
            cut = [run_sets.cut(runs, shared, self.height) for runs in (a.runs, b.runs)]
            both = run_sets.area(run_sets.common(cut))
            areas = [run_sets.area(runs) for runs in cut]
        return both / (sum(areas) - both) if both > 0 else 0.0

    # -------------------------------------------------------------------------------- what they are
    def _object(self, group: list[Piece]) -> Piece:
        """The object that pieces of several tiles show."""
        best = max(group, key=lambda piece: piece.score)
        whole = max(group, key=lambda piece: (piece.room >= 0, piece.score))
        if len(group) == 1:
            return best
        if whole.room >= 0:
            return dataclasses.replace(whole, score=best.score)
        corners = np.array([piece.box for piece in group])
        box = np.concatenate([corners[:, :2].min(0), corners[:, 2:].max(0)])
        masks = [piece.runs for piece in group if piece.runs is not None]
        points = [piece.points for piece in group if piece.points is not None]
        return Piece(
            -1,  # of no single tile
            best.label,
            best.score,
            box,
            run_sets.union(masks) if masks else None,
            _surest(np.array(points)) if points else None,
            -1.0,
        )

    def _kept(self, objects: list[Piece]) -> list[int]:
        """Indices of the objects without what is left of others, for objects by falling score.

        Left are pieces that agree with nothing enough, as one that a border cuts to a sliver: it
        lies within the object. It may be taken for another class, as half a bar is a box; the tile
        that shows all of the object knows better.
        """
        boxes = np.array([piece.box for piece in objects]).reshape(-1, 4)
        gone = np.zeros(len(objects), bool)
        for i, piece in enumerate(objects):
            near = np.flatnonzero(_overlap(boxes[i][None], boxes)[0] > 0)
            for j in near[near != i]:
                other = objects[j]
                if gone[j] or piece.tile == other.tile != -1:
                    continue
                is_class = other.label == piece.label
                seen_whole = other.room >= 0 and piece.runs is not None
                if not is_class and not (piece.room < 0 and seen_whole):
                    continue
                both, own, others = self._areas_of(piece, other)
                is_part = piece.room < 0 and both > CONTAINED * own and own < others
                is_same = is_class and j < i and both > AGREEMENT * (own + others - both)
                if is_part or is_same:
                    gone[i] = True
                    break
        return np.flatnonzero(~gone).tolist()

    def _areas_of(self, a: Piece, b: Piece) -> tuple[float, float, float]:
        """Area of what two objects share, and of each."""
        if a.runs is None or b.runs is None:
            both = _overlap(a.box[None], b.box[None]).item()
            return both, _areas(a.box[None]).item(), _areas(b.box[None]).item()
        return (
            run_sets.area(run_sets.common([a.runs, b.runs])),
            run_sets.area(a.runs),
            run_sets.area(b.runs),
        )


def _surest(points: np.ndarray) -> np.ndarray:
    """(K, 3): each keypoint of the piece, of (D, K, 3), whose score for it is highest."""
    return points[points[..., 2].argmax(0), np.arange(points.shape[1])]


def _boxes_in(boxes: np.ndarray, tile: Tile) -> np.ndarray:
    """The parts of boxes (D, 4) in a tile."""
    low, high = np.array(tile[:2]), np.array(tile[2:])
    return np.concatenate([np.maximum(boxes[:, :2], low), np.minimum(boxes[:, 2:], high)], 1)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) areas that boxes (A, 4) and (B, 4) share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clip(0).prod(2)
