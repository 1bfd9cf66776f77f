"""Detections of all images as columns, which evaluation takes without a file between.

Symbols: D detections, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detections:
    """D detections with boxes, masks or keypoints.

    Args:
        image_ids: D, as in the annotation file.
        category_ids: D.
        scores: (D,) float64.
        boxes: (D, 4) float64, x, y, width and height, in pixels of the original images.
        masks: D COCO RLEs.
        keypoints: (D, 3K) float64, pixel indices x and y and a score for each keypoint.
    """

    image_ids: list
    category_ids: list[int]
    scores: np.ndarray
    boxes: np.ndarray | None = None
    masks: list[dict] | None = None
    keypoints: np.ndarray | None = None

    def best(self, count: int) -> Detections:
        """The ``count`` detections of each image and category that have the highest scores.

        Of equal ones the first; those that evaluation takes for this ``maxDets``.
        """
        _, images = np.unique(self.image_ids, return_inverse=True)
        _, categories = np.unique(self.category_ids, return_inverse=True)
        groups = np.stack([images, categories])
        order = np.lexsort((-self.scores, groups[1], groups[0]))  # stable
        starts = np.ones(len(order), bool)
        starts[1:] = (np.diff(groups[:, order]) != 0).any(0)
        places = np.arange(len(order))
        ranks = places - np.maximum.accumulate(np.where(starts, places, 0))
        kept = np.sort(order[ranks < count])
        return Detections(
            [self.image_ids[i] for i in kept],
            [self.category_ids[i] for i in kept],
            self.scores[kept],
            None if self.boxes is None else self.boxes[kept],
            None if self.masks is None else [self.masks[i] for i in kept],
            None if self.keypoints is None else self.keypoints[kept],
        )

    def records(self) -> list[dict]:
        """COCO's format for results: a dict a detection, which JSON can hold."""
        columns: dict[str, Sequence] = dict(image_id=self.image_ids, category_id=self.category_ids)
        if self.boxes is not None:
            columns["bbox"] = self.boxes.tolist()
        if self.masks is not None:
            columns["segmentation"] = [_with_text(mask) for mask in self.masks]
        if self.keypoints is not None:
            columns["keypoints"] = self.keypoints.tolist()
        columns["score"] = self.scores.tolist()
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


def box_detections(results: Sequence[dict], category_ids: Sequence[int]) -> Detections:
    """Boxes of all images.

    Args:
        results: one an image, as CocoMetric stores them: ``img_id``, ``labels`` (n,), ``scores``
            (n,), ``bboxes`` (n, 4) xyxy.
        category_ids: of each label.
    """
    corners = _joined(result["bboxes"].reshape(-1, 4) for result in results)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    scores = _joined(result["scores"] for result in results)
    return Detections(*_ids(results, category_ids), scores, boxes)


def mask_detections(results: Sequence[dict], category_ids: Sequence[int]) -> Detections:
    """Masks of all images, without boxes, as COCO counts them: their areas are the masks'.

    Args:
        results: one an image, with ``masks``, n RLEs, and maybe ``mask_scores`` (n,) that count
            instead of ``scores``.
        category_ids: of each label.
    """
    scores = _joined(result.get("mask_scores", result["scores"]) for result in results)
    masks = [mask for result in results for mask in result["masks"]]
    return Detections(*_ids(results, category_ids), scores, masks=masks)


def keypoint_detections(
    results: Sequence[dict], category_ids: dict[int, int], key: str
) -> Detections:
    """Keypoints of all images, without boxes: with them areas would be the boxes'.

    Args:
        results: one an image; ``key`` holds which of its n detections have keypoints, (P,)
            indices, and their keypoints, (P, K, 3): x and y, continuous pixels, and a score.
        category_ids: by label, of the classes with keypoints.
        key: of the results.
    """
    images, categories, scores, points = [], [], [], []
    for result in results:
        rows, triples = result[key]
        images += [result["img_id"]] * len(rows)
        categories += [category_ids[label] for label in result["labels"][rows].tolist()]
        scores.append(result["scores"][rows])
        indices = triples.astype(np.float64) - (0.5, 0.5, 0)
        points.append(indices.reshape(len(rows), 3 * triples.shape[1]))
    return Detections(images, categories, _joined(scores), keypoints=_joined(points))


def _ids(results: Sequence[dict], category_ids: Sequence[int]) -> tuple[list, list[int]]:
    images = [result["img_id"] for result in results for _ in result["labels"]]
    labels = (label for result in results for label in result["labels"].tolist())
    return images, [category_ids[label] for label in labels]


def _joined(arrays) -> np.ndarray:
    return np.concatenate(list(arrays)).astype(np.float64)


def _with_text(mask: dict) -> dict:
    counts = mask["counts"]
    return dict(mask, counts=counts.decode()) if isinstance(counts, bytes) else mask
