"""Detections of many images as columns, for evaluation, pictures and files.

Symbols: D detections, K keypoints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mmdet_maskr.coco.form import as_text, to_corners, to_indices, to_pixels, to_sides

FIELDS = dict(bbox="bbox", segm="segmentation", keypoints="keypoints")  # of records, by kind
KINDS = tuple(FIELDS)
_PREDICTED = dict(bbox="bboxes", segm="masks", keypoints="keypoints")  # of a model, by kind


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

        Raises:
            ValueError: an image has fewer or more of one of these than labels.
        """
        pairs = list(predictions)
        ids = [image_id for image_id, _ in pairs]
        given = [found for _, found in pairs]
        counts = [len(found["labels"]) for found in given]
        for field in ("scores", *(_PREDICTED[kind] for kind in kinds)):
            if [len(found[field]) for found in given] != counts:
                raise ValueError(f"an image must have as many {field} as labels")
        labels = _joined([np.asarray(found["labels"], np.int64) for found in given], ())
        kept = np.isin(labels, list(category_ids))
        has = np.ones(len(labels), bool)
        if "keypoints" in kinds:
            has[:] = [len(points) > 0 for found in given for points in found["keypoints"]]
            if set(kinds) == {"keypoints"}:
                kept &= has
        rows = np.flatnonzero(kept)
        places = np.repeat(np.arange(len(given)), counts)
        boxes = masks = keypoints = None
        if "bbox" in kinds:
            corners = [np.asarray(f["bboxes"], np.float64).reshape(-1, 4) for f in given]
            boxes = _joined(corners, (4,))[rows]
        if "segm" in kinds:
            every = list(chain.from_iterable(found["masks"] for found in given))
            masks = every if kept.all() else [every[row] for row in rows.tolist()]
        if "keypoints" in kinds:
            keypoints = _triples(given, has)[rows]
        has = has[rows]
        return cls(
            [ids[place] for place in places[rows].tolist()],
            [category_ids[label] for label in labels[rows].tolist()],
            _joined([np.asarray(found["scores"], np.float64) for found in given], ())[rows],
            boxes,
            masks,
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


def _joined(parts: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Values of all images, each of a shape."""
    return np.concatenate(parts) if len(parts) else np.zeros((0, *shape))


def _triples(given: Sequence[Mapping], has: np.ndarray) -> np.ndarray:
    """(D, K, 3) keypoints and their scores of all images; zeros for detections without."""
    parts, begin = [], 0
    for found in given:
        own = has[begin : (begin := begin + len(found["labels"]))]
        rows = np.flatnonzero(own)
        if len(rows):
            points, scores = (
                np.asarray([column[row] for row in rows] if isinstance(column, list) else column)
                for column in (found["keypoints"], found["keypoint_scores"])
            )
            parts.append(np.concatenate([points, scores[..., None]], axis=-1, dtype=np.float64))
    triples = np.zeros((len(has), *(parts[0].shape[1:] if parts else (0, 3))))
    if parts:
        triples[has] = np.concatenate(parts)
    return triples
