"""Finds annotations that were exported in several formats."""

from __future__ import annotations

import numpy as np

from mmdet_maskr.datasets.formats.output import annotation_of
from mmdet_maskr.datasets.formats.records import Collection, Photo
from mmdet_maskr.errors import UserError

SAME = 0.7  # IoU of boxes of the same object: tools round, and draw circles with few corners


def the_fullest(each: list[Collection]) -> Collection:
    """Of collections that agree, the one of most photos, then of most masks and keypoints.

    Raises:
        UserError: two differ in objects, or each has photos that the other lacks.
    """
    best = max(each, key=_fullness)
    for other in each:
        if other is not best:
            _check(best, other)
            best.assumed[f"photos also annotated in {other.source}, with the same objects"] += len(
                other.photos
            )
    return best


def joined_up(files: list[Collection]) -> Collection:
    """Files of one dataset as one; of those that annotate the same photos the fullest.

    Raises:
        UserError: two annotate the same photos and differ.
    """
    kept: list[Collection] = []
    for found in sorted(files, key=_fullness, reverse=True):
        paths = {photo.path for photo in found.photos}
        twins = [other for other in kept if paths & {photo.path for photo in other.photos}]
        for other in twins[:1]:
            _check(other, found)
            other.assumed[f"photos also annotated in {found.source}, with the same objects"] += len(
                paths
            )
        if not twins:
            kept.append(found)
    joined = Collection(files[0].format)
    for found in (f for f in files if any(f is other for other in kept)):  # in their order
        joined.photos += found.photos
        for name in found.classes:
            joined.add_class(name)
        for name, joints in found.keypoints.items():
            if joined.keypoints.setdefault(name, joints) != joints:
                raise UserError(
                    f"{found.source} has other keypoints for {name!r} than another file."
                )
        joined.skeletons.update(found.skeletons)
        joined.assumed.update(found.assumed)
        joined.unreadable |= found.unreadable
    return joined


def _fullness(found: Collection) -> tuple[int, int, int, int]:
    objects = [item for photo in found.photos for item in photo.objects]
    masks = sum(bool(item.polygons or item.crop or item.rle) for item in objects)
    named = sum(len(joints) for joints in found.keypoints.values())
    return len(found.photos), masks, sum(item.keypoints is not None for item in objects), named


def _check(fuller: Collection, other: Collection) -> None:
    by_path = {photo.path: photo for photo in fuller.photos}
    for photo in other.photos:
        twin = by_path.get(photo.path)
        if twin is None or not _agree(twin, photo):
            what = "lacks" if twin is None else "has other objects in"
            raise UserError(
                f"{fuller.source} and {other.source} annotate the same images but disagree: "
                f"the first {what} {photo.path.name}. Pass one file instead of the folder, "
                "or choose a format with --format."
            )


def _agree(one: Photo, two: Photo) -> bool:
    left, right = _boxes(one), _boxes(two)
    if len(left) != len(right):
        return False
    waiting = list(right)
    for label, box in left:
        overlaps = [_iou(box, other) if name == label else 0.0 for name, other in waiting]
        best = int(np.argmax(overlaps))
        if overlaps[best] < SAME:
            return False
        del waiting[best]
    return True


def _boxes(photo: Photo) -> list[tuple[str, list[float]]]:
    """Label and box x, y, width, height of each object."""
    return [
        (item.label, annotation_of(item, photo).get("bbox", [0.0, 0.0, 1.0, 1.0]))
        for item in photo.objects
    ]


def _iou(one: list[float], two: list[float]) -> float:
    """A box is a pixel wide and high at least, as one without a size has to agree with itself."""
    (x, y, w, h), (x1, y1, w1, h1) = ((*b[:2], max(b[2], 1.0), max(b[3], 1.0)) for b in (one, two))
    width = min(x + w, x1 + w1) - max(x, x1)
    height = min(y + h, y1 + h1) - max(y, y1)
    inside = max(width, 0.0) * max(height, 0.0)
    return inside / (w * h + w1 * h1 - inside)
