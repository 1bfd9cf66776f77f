"""Which annotations of an index a training uses; the rules of check.trainable, vectorized."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from mmdet_maskr.coco.check.boxes import compare
from mmdet_maskr.coco.check.trainable import FRACTION, Tally
from mmdet_maskr.coco.index.annotation_index import AnnotationIndex
from mmdet_maskr.coco.index.columns import RLE, Flag


class Usage(NamedTuple):
    """What a dataset makes of the annotations.

    Args:
        tally: what is left out, and why; without the ids of images.
        loaded: (N,) bool, those that mmdet's dataset passes on, crowds included.
        used_rows: (I,) bool, images with an annotation that is used, or with a crowd.
    """

    tally: Tally
    loaded: np.ndarray
    used_rows: np.ndarray


def usage_of(index: AnnotationIndex, wanted: Collection[Any], polygons_only: bool) -> Usage:
    """What is used of all annotations.

    Args:
        index: of the file.
        wanted: category ids of the dataset's classes.
        polygons_only: whether masks are loaded with ``poly2mask=False``.
    """
    # 1. of each annotation: whether a reason holds
    known = [category["id"] for category in index.categories]
    tally = Tally(known, wanted, polygons_only)
    arrays = index.arrays
    image, box = arrays["image"], arrays["bbox"]  # (A,), (A, 4)
    row = np.maximum(image, 0)
    size = np.stack([arrays["width"][row], arrays["height"][row]], axis=1)
    inside = np.minimum(box[:, :2] + box[:, 2:], size) - np.maximum(box[:, :2], 0)  # (A, 2)
    is_wanted = index.of_categories(wanted)
    polygons = np.diff(arrays["polygon_end"], prepend=0) > 0
    tests = {  # in the order in which Tally asks
        "image": image < 0,
        "category": ~is_wanted & ~index.of_categories(known),
        "other-class": ~is_wanted,
        "ignore": index.has(Flag.IGNORE),
        "outside": (inside <= 0).any(1),
        "small": (box[:, 2:] < 1).any(1),
        "area": arrays["area"] <= 0,
        "crowd": index.has(Flag.CROWD),
        "rle": index.has(RLE) & polygons_only,
        "polygon": polygons & ~index.has(Flag.THREE_POINTS),
    }
    # 2. the first reason that holds is the one that counts
    left = np.ones(index.num_annotations, bool)
    first, loaded, used = {}, left, left
    for reason, holds in tests.items():
        if reason == "crowd":
            loaded = left
        found = np.flatnonzero(left & holds)
        left = left & ~holds
        if len(found):
            tally.reasons[reason] = len(found)
            first[reason] = found[0]
        if reason == "crowd":
            used = holds & loaded
    ordered = sorted(first, key=first.__getitem__)  # as if they were counted one by one
    counts = {reason: tally.reasons.pop(reason) for reason in ordered}
    tally.reasons.update(counts)
    # 3. images and categories that are used
    tally.total = index.num_annotations
    used_rows = np.zeros(index.num_images, bool)
    used_rows[image[left | used]] = True
    codes = np.bincount(arrays["category"], minlength=len(index.category_ids)).tolist()
    named = zip(index.category_ids, codes, strict=True)
    tally.add_many({i: n for i, n in named if n}, int((np.abs(box).max(1) <= FRACTION).sum()))
    # 4. boxes that are not the bounds of their masks: only flagged ones are compared
    looked_at = left | used | (loaded & ~index.has(Flag.CROWD) & tests["rle"])
    has_mask = polygons | index.has(RLE)
    tally.compared = int((looked_at & has_mask).sum())
    tally.box_only = int((left & ~has_mask).sum())
    differs = np.flatnonzero(looked_at & index.has(Flag.BOX_DIFFERS))
    for number, annotation in zip(differs.tolist(), index.annotations(differs), strict=True):
        width, height = size[number].tolist()
        found = compare(annotation["bbox"], annotation["segmentation"], width, height)
        if found is not None:
            tally.mismatches[annotation["id"]] = found
    return Usage(tally, loaded, used_rows)
