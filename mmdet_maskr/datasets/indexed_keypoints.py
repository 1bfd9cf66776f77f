"""Keypoints by the index of an annotation file: its own, or those of another file by id.

Symbols: N annotations of the file with the boxes, S of that with the keypoints, K keypoints.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from mmdet_maskr.coco.index import AnnotationIndex

_AT_ONCE = 10_000  # annotations, so that looking at all of them takes little memory


class IndexedKeypoints(NamedTuple):
    """Where the keypoints of annotations are.

    Args:
        source: index of the file with the keypoints.
        starts: (N,) where an annotation's first number is in ``source.arrays['keypoints']``; -1
            for annotations without keypoints, and those of classes without.
        num_keypoints: K.
    """

    source: AnnotationIndex
    starts: np.ndarray
    num_keypoints: int

    def points(self, numbers: np.ndarray) -> np.ndarray:
        """Keypoints of annotations that have them.

        Args:
            numbers: (M,) of the annotations.

        Returns:
            (M, K, 3) float32: x, y, v as in the file.
        """
        places = self.starts[numbers, None] + np.arange(3 * self.num_keypoints)  # (M, 3 K)
        points = self.source.arrays["keypoints"][places].astype(np.float32)
        return points.reshape(-1, self.num_keypoints, 3)


class Found(NamedTuple):
    """Keypoints that need no second look.

    Args:
        keypoints: where they are.
        labeled: (N,) how many have v > 0.
        wanted: how many annotations are of classes with keypoints.
        missing: how many of these have none.
        unused: how many annotations of other classes have some.
    """

    keypoints: IndexedKeypoints
    labeled: np.ndarray
    wanted: int
    missing: int
    unused: int


def find_keypoints(
    index: AnnotationIndex, source: AnnotationIndex, classes: Collection[str], num_keypoints: int
) -> Found | None:
    """Find the keypoints of all annotations, and look at them.

    Args:
        index: of the file with the boxes and masks.
        source: of the file with the keypoints, under the same annotation ids; ``index`` itself
            where there is one file.
        classes: names of the classes with keypoints.
        num_keypoints: K.

    Returns:
        None where one of :mod:`mmdet_maskr.coco.keypoint_checks` may find something: it has to look
        at the entries themselves, and to say what is wrong.
    """
    # 1. which annotation has the keypoints of which
    if _has_unusual(source):
        return None
    ends = source.arrays["keypoint_end"]  # (S,)
    has_some = np.diff(ends, prepend=0) > 0
    if source is index:
        place = np.where(has_some, np.arange(len(ends)), -1)  # (N,)
    else:
        joined = _join(index, source)
        if joined is None:
            return None
        place = np.full(index.num_annotations, -1)
        place[joined[has_some]] = np.flatnonzero(has_some)
    # 2. of the classes that have keypoints
    if _lack_keypoints(source, classes, has_some):
        return None
    wanted = index.of_categories([c["id"] for c in index.categories if c["name"] in classes])
    having = np.flatnonzero(wanted & (place >= 0))  # (M,)
    own = place[having]
    starts = np.full(index.num_annotations, -1)
    starts[having] = ends[own] - 3 * num_keypoints
    if (np.diff(ends, prepend=0)[own] != 3 * num_keypoints).any():
        return None
    # 3. a known visibility, and the count as in the file; the index has finite numbers alone
    keypoints = IndexedKeypoints(source, starts, num_keypoints)
    labeled = np.zeros(index.num_annotations, np.int32)
    for first in range(0, len(having), _AT_ONCE):
        some = having[first : first + _AT_ONCE]
        points = keypoints.points(some)
        if not np.isin(points[..., 2], (0, 1, 2)).all():
            return None
        labeled[some] = (points[..., 2] > 0).sum(1)
    count = source.arrays["num_keypoints"][own]
    count = np.where(count < 0, index.arrays["num_keypoints"][having], count)
    if ((count >= 0) & (count != labeled[having])).any():
        return None
    total, others = int(wanted.sum()), int((place >= 0).sum()) - len(having)
    return Found(keypoints, labeled, total, total - len(having), others)


def _has_unusual(index: AnnotationIndex) -> bool:
    """Whether keypoints, or their number, are other than plain numbers: kept as text then."""
    return b'keypoints"' in index.arrays["rest_text"].tobytes()


def _join(index: AnnotationIndex, source: AnnotationIndex) -> np.ndarray | None:
    """(S,) the annotation with the same id, image and class; None where one has not one."""
    if index.arrays["keypoints"].size or _has_unusual(index):
        return None
    if any(isinstance(ids, list) for i in (index, source) for ids in (i.ids, i.image_ids)):
        return None
    for each in (index, source):
        if len(np.unique(each.ids)) < len(each.ids) or (each.arrays["image"] < 0).any():
            return None
    if not len(index.ids):
        return None if len(source.ids) else np.zeros(0, np.int64)
    order = np.argsort(index.ids)
    place = order[np.searchsorted(index.ids, source.ids, sorter=order).clip(max=len(order) - 1)]
    same = (
        np.array_equal(index.ids[place], source.ids)
        and np.array_equal(_image_ids(index)[place], _image_ids(source))
        and np.array_equal(_class_names(index)[place], _class_names(source))
    )
    return place if same else None


def _image_ids(index: AnnotationIndex) -> np.ndarray:
    return np.asarray(index.image_ids)[index.arrays["image"]]


def _class_names(index: AnnotationIndex) -> np.ndarray:
    """(N,) name of each annotation's class, '' without one."""
    names = {category["id"]: category["name"] for category in index.categories}
    of_codes = np.array([names.get(i, "") for i in index.category_ids], object)
    return of_codes[index.arrays["category"]] if len(of_codes) else np.zeros(0, object)


def _lack_keypoints(
    source: AnnotationIndex, classes: Collection[str], has_some: np.ndarray
) -> bool:
    """Whether a class has annotations, none of them with keypoints, and names none either."""
    for category in source.categories:
        if category["name"] in classes and "keypoints" not in category:
            own = source.of_categories([category["id"]])
            if own.any() and not has_some[own].any():
                return True
    return False
