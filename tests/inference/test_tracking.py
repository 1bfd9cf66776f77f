"""Ids across frames: IDF1 on scenes with crossings, gaps of time, and where the ids are written."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from idf1 import idf1
from test_overlap import Found, Model, Numbers

from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.sinks import JsonLines
from mmdet_maskr.inference.tracking import Tracks
from mmdet_maskr.inference.walk import Image, walk

WIDTH, HEIGHT = 640, 360
needs_trackers = pytest.mark.skipif(
    importlib.util.find_spec("trackers") is None, reason="trackers is not installed"
)


class Detection(NamedTuple):
    true: int
    box: np.ndarray
    score: float


def scene(seed: int, objects: int = 6, frames: int = 150) -> list[list[Detection]]:
    """Rectangles that cross the picture in both directions, as a detector would find them.

    One is not detected while another one in front covers more than 60 % of it, nor in a tenth of
    all frames; boxes are off by 2 % of their sides, and scores fall where something is in front.
    """
    rng = np.random.default_rng(seed)
    sides = rng.uniform(40, 90, (objects, 2))
    right = np.arange(objects) % 2 == 0
    begin = np.where(right, rng.uniform(0, 60, objects), WIDTH - rng.uniform(0, 60, objects))
    begin = np.stack([begin, rng.uniform(80, 280, objects)], 1)
    speed = np.where(right, 1, -1) * rng.uniform(2.5, 4, objects)
    speed = np.stack([speed, rng.uniform(-0.5, 0.5, objects)], 1)
    found = []
    for t in range(frames):
        centers = begin + speed * t
        boxes = np.concatenate([centers - sides / 2, centers + sides / 2], 1)
        inside = (boxes[:, 2] > 10) & (boxes[:, 0] < WIDTH - 10)
        low = np.maximum(boxes[:, None, :2], boxes[:, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
        covered = np.prod((high - low).clip(0), 2) / np.prod(sides, 1)[:, None]
        hidden = np.tril(covered, -1).max(1)  # those before it are in front
        seen = inside & (hidden <= 0.6) & (rng.random(objects) > 0.1)
        noise = rng.normal(0, 0.02, (objects, 4)) * np.tile(sides, 2)
        scores = np.where(hidden > 0.2, 0.3, 0.5) + 0.5 * rng.random(objects)
        found.append([Detection(i, boxes[i] + noise[i], scores[i]) for i in np.flatnonzero(seen)])
    return found


def lists(detections: list[Detection]) -> dict[str, Any]:
    return dict(
        bboxes=[one.box.tolist() for one in detections], scores=[one.score for one in detections]
    )


def crossings(found: list[list[Detection]]) -> int:
    """In how many frames boxes of two objects that are detected overlap by a third."""
    count = 0
    for detections in found:
        boxes = np.array([one.box for one in detections]).reshape(-1, 4)
        low = np.maximum(boxes[:, None, :2], boxes[:, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
        shared = np.prod((high - low).clip(0), 2) / np.prod(boxes[:, 2:] - boxes[:, :2], 1)
        count += bool((np.triu(shared, 1) > 1 / 3).any())
    return count


@needs_trackers
def test_crossings():
    """Twenty scenes: IDF1 over what was detected of at least 0.95, and most scenes nearly whole."""
    scores, crossed = [], 0
    for seed in range(20):
        found, tracks = scene(seed), Tracks(Numbers(1))
        ids = [tracks.ids(lists(frame)) for frame in found]
        frames = [
            [(one.true, name) for one, name in zip(*pair, strict=True)]
            for pair in zip(found, ids, strict=True)
        ]
        scores.append(idf1(frames))
        crossed += crossings(found)
    assert crossed > 300, "the scenes must be hard"
    assert np.mean(scores) >= 0.95 and np.median(scores) >= 0.98


@needs_trackers
def test_a_slow_model_on_a_camera():
    """Frames that were left out are time: an object that has moved on meanwhile keeps its id."""

    def ids(live: bool) -> list[int | None]:
        tracks = Tracks(Numbers(1, live=live))
        found = []
        for t in (*range(10), 16, *range(17, 20)):
            box = [20.0 * t, 0, 20.0 * t + 60, 60]
            image = Image(t, np.zeros(1), t / 10)
            entry = Found(dict(bboxes=[box], scores=[0.9]))
            tracks.add(image, t, entry)
            found += entry.lists["track_ids"]
        return found

    assert ids(live=True) == [None] + [0] * 13
    assert ids(live=False) == [None] + [0] * 9 + [None] + [1] * 3


@needs_trackers
def test_where_ids_are_written(tmp_path: Path):
    """In the lists of every sink after it; None below the threshold; an empty frame is no error."""

    class Boxes(Model):
        def detect(self, prepared: list[int]) -> list[Found]:
            number = prepared[0]
            some = [] if number == 2 else [[5, 5, 30, 30], [60, 60, 90 + number, 90], [1, 9, 2, 10]]
            return [Found(dict(bboxes=some, scores=[0.9, 0.8, 0.1][: len(some)]))]

    video = Numbers(4, live=True)
    sinks = [Tracks(video, score_thr=0.3), JsonLines(tmp_path / "a.jsonl")]
    walk(video, Boxes(), sinks)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").open()]
    ids = [line["track_ids"] for line in lines]
    assert ids == [[None] * 3, [0, 1, None], [], [0, 1, None]]


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(UserError, match=r"mmdet-maskr\[track\]"):
        Tracks(Numbers(1))


def test_idf1():
    """By hand: whole, one switch in the middle, a missed half, and false tracks."""
    assert idf1([[(0, 5), (1, 6)]] * 4) == 1
    assert idf1([[(0, 5)]] * 5 + [[(0, 6)]] * 5) == 0.5
    assert idf1([[(0, 5)]] * 5 + [[(0, None)]] * 5) == pytest.approx(10 / 15)
    assert idf1([[(0, 5), (None, 7)]] * 4) == pytest.approx(8 / 12)
    swapped = [[(0, 5), (1, 6)]] * 6 + [[(0, 6), (1, 5)]] * 4
    assert idf1(swapped) == pytest.approx(0.6)


@needs_trackers
def test_idf1_is_that_of_the_library():
    identity = pytest.importorskip("trackers.eval.identity")
    rng = np.random.default_rng(0)
    frames, true, found, alike = [], [], [], []
    for _ in range(30):
        present = np.flatnonzero(rng.random(5) < 0.8)
        given = [int(name + 5 * (rng.random() < 0.3)) for name in present]
        frames.append([(int(a), b) for a, b in zip(present, given, strict=True)])
        true.append(present)
        found.append(np.array(given))
        alike.append(np.eye(len(present)))
    assert idf1(frames) == pytest.approx(
        identity.compute_identity_metrics(true, found, alike)["IDF1"]
    )
