"""Detections of an exported model, drawn on the frames of a video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask

from mmdet_maskr.inference.video import VideoSink
from mmdet_maskr.inference.walk import Found, Image, Sink
from mmdet_maskr.visualization.colors import class_colors, id_colors
from mmdet_maskr.visualization.draw import draw_instances
from mmdet_maskr.visualization.labels import texts_of


class Film(Sink):
    """Draws masks, boxes, names and ids on every frame; not keypoints.

    Args:
        film: the video writer.
        classes: names by label.
        score_thr: detections below it are not drawn.
    """

    def __init__(self, film: VideoSink, classes: Sequence[str], score_thr: float) -> None:
        self.place = film.path
        self._film, self._classes, self._least = film, classes, score_thr
        self._colors = class_colors(None, len(classes))

    def add(self, image: Image, number: int, found: Found) -> None:
        picture = self.draw(np.asarray(image.content), found.lists)
        self._film.write(picture, image.seconds)

    def close(self, whole: bool) -> None:
        self._film.close(whole)

    def draw(self, pixels: np.ndarray, lists: dict[str, Any]) -> np.ndarray:
        """Draw the detections on a frame (H, W, 3) in BGR; returns (H, W, 3) uint8 RGB."""
        kept = [i for i, score in enumerate(lists["scores"]) if score >= self._least]
        labels = [lists["labels"][i] for i in kept]
        scores = [lists["scores"][i] for i in kept]
        boxes = np.array([lists["bboxes"][i] for i in kept], float).reshape(-1, 4)
        masks = None
        if "masks" in lists:
            masks = [pycocotools.mask.decode(lists["masks"][i]) for i in kept]
        ids = None
        colors = [self._colors[label] for label in labels]
        if "track_ids" in lists:
            given = [lists["track_ids"][i] for i in kept]
            ids = [-1 if name is None else name for name in given]
            colors = id_colors(ids)
        names = [self._classes[label] for label in labels]
        texts = texts_of(names, scores, len(self._classes) == 1, ids)
        return draw_instances(pixels[..., ::-1], boxes, masks, texts, colors)
