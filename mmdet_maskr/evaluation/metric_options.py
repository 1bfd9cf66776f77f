"""Options of a COCO metric, checked before anything is evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import scores

KEYPOINTS = "keypoints"
METRIC_NAMES = ("bbox", "segm", KEYPOINTS, "proposal", "proposal_fast")
OF_DATASET = "dataset"  # an ann_file that the dataset knows
MAX_DETS = 100  # an image and class; COCO's
KEYPOINT_MAX_DETS = 20


def check_metrics(metric: str | Sequence[str], ann_file: str | None) -> list[str]:
    """The names of what is scored, some of :data:`METRIC_NAMES`.

    Raises:
        UserError: others, none, or keypoints without an annotation file.
    """
    names = [metric] if isinstance(metric, str) else list(metric)
    unknown = [name for name in names if name not in METRIC_NAMES]
    if unknown or not names:
        raise UserError(f"metric={metric!r}: it must be one or several of {METRIC_NAMES}.")
    if KEYPOINTS in names and ann_file is None:
        raise UserError(
            "metric 'keypoints' needs ann_file: OKS needs the areas of objects, and "
            "ground truth from data samples (ann_file=None) has none."
        )
    return names


def check_counts(
    max_dets: int | None, proposal_nums: Sequence[int], metrics: Sequence[str]
) -> None:
    """Check how many detections count.

    Raises:
        UserError: numbers that are no counts, or other than three for COCO's average recalls
            (``proposal_fast`` alone takes any number of them).
    """
    if max_dets is not None and not _is_count(max_dets):
        raise UserError(f"max_dets={max_dets!r} must be a whole number from 1.")
    counts = set(proposal_nums) if all(map(_is_count, proposal_nums)) else set()
    if not counts or (len(counts) != 3 and set(metrics) != {"proposal_fast"}):
        raise UserError(
            f"proposal_nums={tuple(proposal_nums)}: it must be three numbers of "
            "detections per image, for the average recalls."
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def split_items(
    items: Sequence[str] | None, metrics: Sequence[str], proposal_nums: Sequence[int]
) -> tuple[list[str] | None, list[str] | None]:
    """The items of boxes and masks, and those of keypoints; None: the defaults.

    Raises:
        UserError: items that the metrics have not.
    """
    if items is None:
        return None, None
    known = {}
    if set(metrics) - {KEYPOINTS}:
        known.update(dict.fromkeys(scores.box_items(proposal_nums)))
    if KEYPOINTS in metrics:
        known.update(dict.fromkeys(scores.KEYPOINT_ITEMS))
    unknown = [item for item in items if item not in known]
    if unknown:
        raise UserError(
            f"metric_items has {unknown}; for metric {list(metrics)} there are {tuple(known)}."
        )
    boxes, keypoints = scores.box_items(proposal_nums), scores.KEYPOINT_ITEMS
    return [i for i in items if i in boxes], [i for i in items if i in keypoints]
