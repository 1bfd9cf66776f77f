"""Detections of many images as columns, which evaluation, pictures and files take.

Symbols: D detections, K keypoints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmdet_maskr.coco.form import as_text, to_corners, to_indices, to_pixels, to_sides

FIELDS = dict(bbox="bbox", segm="segmentation", keypoints="keypoints")  # of records, by kind
KINDS = tuple(FIELDS)


@dataclass(frozen=True)
class Detections:
    """D detections with boxes, masks or keypoints.

    Args:
        image_ids: D, as in the annotation file.
        category_ids: D.
        scores: (D,) float64.
        boxes: (D, 4) float64, x1, y1, x2, y2 in pixels of the original images.
        masks: D COCO RLEs.
        keypoints: (D, K, 3) float64, x and y in the same pixels and a score for each keypoint.
        has_keypoints: (D,) bool, whose keypoints mean anything; None for all.
    """

    image_ids: list
    category_ids: list[int]
    scores: np.ndarray
    boxes: np.ndarray | None = None
    masks: list[dict] | None = None
    keypoints: np.ndarray | None = None
    has_keypoints: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        predictions: Iterable[tuple[Any, Mapping]],
        category_ids: Mapping[int, int],
        kinds: Collection[str],
    ) -> Detections:
        """The predictions of a model.

        Args:
            predictions: for each image its id, and arrays, tensors or lists ``labels`` (n),
                ``scores`` (n), ``bboxes`` (n, 4), ``masks`` (n RLEs), ``keypoints`` (n, K, 2) and
                ``keypoint_scores`` (n, K); lists are empty for detections without keypoints.
            category_ids: by label; detections with other labels are left out.
            kinds: what is taken, of 'bbox', 'segm' and 'keypoints'; with 'keypoints' alone,
                detections without are left out.
        """
        images: list = []
        categories: list[int] = []
        masks: list[dict] = []
        parts: dict[str, list[np.ndarray]] = dict(scores=[], boxes=[], points=[], has=[])
        for image_id, found in predictions:
            labels = np.asarray(found["labels"], np.int64)
            has = np.ones(len(labels), bool)
            if "keypoints" in kinds:
                has = np.array([len(points) > 0 for points in found["keypoints"]], bool)
            kept = np.isin(labels, list(category_ids))
            rows = np.flatnonzero(kept & has if set(kinds) == {"keypoints"} else kept)
            images += [image_id] * len(rows)
            categories += [category_ids[label] for label in labels[rows].tolist()]
            parts["scores"].append(np.asarray(found["scores"], np.float64)[rows])
            if "bbox" in kinds:
                corners = np.asarray(found["bboxes"], np.float64).reshape(-1, 4)
                parts["boxes"].append(corners[rows])
            if "segm" in kinds:
                masks += [found["masks"][row] for row in rows]
            if "keypoints" in kinds:
                parts["has"].append(has[rows])
                parts["points"].append(_triples(found, rows[has[rows]]))
        has, keypoints = np.concatenate([np.zeros(0, bool), *parts["has"]]), None
        if "keypoints" in kinds:
            known = [part for part in parts["points"] if len(part)]
            keypoints = np.zeros((len(has), *(known[0].shape[1:] if known else (0, 3))))
            if known:
                keypoints[has] = np.concatenate(known)
        return cls(
            images,
            categories,
            np.concatenate([np.zeros(0), *parts["scores"]]),
            np.concatenate([np.zeros((0, 4)), *parts["boxes"]]) if "bbox" in kinds else None,
            masks if "segm" in kinds else None,
            keypoints,
            None if has.all() else has,
        )

    @classmethod
    def from_coco(cls, records: Iterable[Mapping], kind: str) -> Detections:
        """The entries of a file of COCO results that have a box, mask or keypoints.

        Args:
            records: of the file.
            kind: 'bbox', 'segm' or 'keypoints'; the rest of an entry is not read.

        Raises:
            ValueError: boxes that are not four numbers, or keypoints that are not 3 K.
        """
        having = [record for record in records if record.get(FIELDS[kind])]
        values = [record[FIELDS[kind]] for record in having]
        boxes = masks = keypoints = None
        if kind == "bbox":
            boxes = to_corners(values)
        elif kind == "segm":
            masks = values
        else:
            width = len(values[0]) // 3 if values else 0
            keypoints = to_pixels(np.array(values, np.float64).reshape(len(values), width, 3))
        return cls(
            [record["image_id"] for record in having],
            [record["category_id"] for record in having],
            np.array([record["score"] for record in having], np.float64),
            boxes,
            masks,
            keypoints,
        )

    def to_coco(self) -> list[dict]:
        """COCO's format for results: a dict a detection, which JSON can hold."""
        columns: dict[str, Sequence] = dict(
            image_id=self.image_ids, category_id=self.category_ids, score=self.scores.tolist()
        )
        if self.boxes is not None:
            columns["bbox"] = to_sides(self.boxes).tolist()
        if self.masks is not None:
            columns["segmentation"] = [as_text(mask) for mask in self.masks]
        if self.keypoints is not None:
            flat = to_indices(self.keypoints).reshape(len(self.scores), self.keypoints[0:1].size)
            columns["keypoints"] = flat.tolist()
        rows = zip(*columns.values(), strict=True)
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        if self.keypoints is not None and self.has_keypoints is not None:
            for row in np.flatnonzero(~self.has_keypoints):
                del records[row]["keypoints"]
        return records

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
        return self._taken(np.sort(order[ranks < count]))

    def _taken(self, rows: np.ndarray) -> Detections:
        def taken(column: Any) -> Any:
            if isinstance(column, list):
                return [column[row] for row in rows]
            return None if column is None else column[rows]

        return Detections(**{name: taken(column) for name, column in vars(self).items()})


def _triples(found: Mapping, rows: np.ndarray) -> np.ndarray:
    """(R, K, 3) keypoints and their scores of some detections of an image."""
    if not len(rows):
        return np.zeros((0, 0, 3))
    points, scores = (
        np.array([column[row] for row in rows] if isinstance(column, list) else column[rows])
        for column in (found["keypoints"], found["keypoint_scores"])
    )
    return np.concatenate([points, scores[..., None]], axis=-1, dtype=np.float64)
