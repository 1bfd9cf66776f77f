"""Recall of proposals without COCO's machinery (metric 'proposal_fast')."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.functional import eval_recalls

from mmdet_maskr.coco.form import boxes_of


def average_recalls(
    truth: COCO,
    found: Mapping[int, np.ndarray],
    proposal_nums: Sequence[int],
    thresholds: float | Sequence[float],
) -> np.ndarray:
    """Recall of all annotated boxes but crowds, averaged over the thresholds of IoU.

    mmdet's ``eval_recalls``, an image at a time: of several images it makes one array, which numpy
    2 refuses where they differ in their numbers of boxes.

    Args:
        truth: annotations of all images.
        found: by image id, (D, 4) boxes xyxy, the best first; images may be absent.
        proposal_nums: how many of an image's boxes count, ascending.
        thresholds: of IoU.

    Returns:
        A recall for each of ``proposal_nums``; NaN where nothing is annotated.
    """
    recalled, total = np.zeros(len(proposal_nums)), 0
    for image_id in truth.imgs:
        annotations = truth.imgToAnns[image_id] if image_id in truth.imgToAnns else ()
        wanted = boxes_of([a for a in annotations if not (a.get("ignore") or a["iscrowd"])])
        boxes = found.get(image_id)
        total += len(wanted)
        if len(wanted) and boxes is not None:
            corners = wanted.astype(np.float32)
            recalls = eval_recalls([corners], [boxes], proposal_nums, thresholds, logger="silent")
            recalled += len(wanted) * recalls.mean(axis=1)
    return recalled / total if total else np.full(len(proposal_nums), np.nan)
