"""Left/right swaps of keypoints, derived from their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmdet_maskr.coco.keypoint_meta import COCO_PERSON
from mmdet_maskr.datasets.formats.records import Collection

SIGMA = 0.05  # of a keypoint of which no one knows better; COCO's go from 0.025 to 0.107
_LEFT = re.compile(r"(?<![a-z])(left|l)(?![a-z])|(?<=[a-z])(Left)(?![a-z])|^(left)")


def metainfo_of(collection: Collection) -> dict[str, Any] | None:
    """A dataset's metainfo of the keypoints of a collection; None where it has none.

    Of classes that name different keypoints those count that have most objects with keypoints.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    for photo in collection.photos:
        for item in photo.objects:
            if item.keypoints is not None and item.label in collection.keypoints:
                counts[tuple(collection.keypoints[item.label])] += 1
    if not counts:
        return None
    names = counts.most_common(1)[0][0]
    having = [c for c in collection.classes if tuple(collection.keypoints.get(c, ())) == names]
    if names == COCO_PERSON["keypoints"]:
        meta: dict[str, Any] = dict(COCO_PERSON)
    else:
        lines = next((collection.skeletons[c] for c in having if collection.skeletons.get(c)), [])
        skeleton = [[names[i - 1] for i in pair] for pair in lines if _is_pair(pair, len(names))]
        meta = dict(
            keypoints=list(names),
            keypoint_swaps=swaps_of(names),
            keypoint_sigmas=[SIGMA] * len(names),
            skeleton=skeleton,
        )
    return dict(meta, keypoint_classes=having)


def swaps_of(names: Sequence[str]) -> list[list[str]]:
    """Pairs of left and right, such as left_eye and right_eye, l_knee and r_knee, EyeLeft."""
    lowered = {name.lower(): name for name in names}
    pairs = []
    for name in names:
        for match in _LEFT.finditer(name if re.search("[a-z]Left", name) else name.lower()):
            word = match.group()
            right = ("right" if len(word) > 1 else "r").lower()
            other = (name[: match.start()] + right + name[match.end() :]).lower()
            if other in lowered:
                pairs.append([name, lowered[other]])
                break
    return pairs


def _is_pair(pair: Any, count: int) -> bool:
    return len(pair) == 2 and all(isinstance(i, int) and 0 < i <= count for i in pair)
