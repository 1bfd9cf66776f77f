"""What a COCO metric stores per image, and the detections and files made from it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from mmengine.fileio import put_text

from mmdet_maskr.coco.detections import KINDS, Detections
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.metric_options import KEYPOINTS


def check_masks(predictions: Mapping) -> None:
    """Check that an image's predictions can be scored by metric 'segm'.

    Raises:
        UserError: they have no masks.
    """
    if "masks" not in predictions:
        raise UserError(
            "metric 'segm' needs predictions with masks, from a mask head "
            f"(roi_head.mask_head). The predictions have {sorted(predictions.keys())}. "
            "Set metric='bbox'."
        )


def with_keypoints(
    pred: Mapping, result: Mapping, labels: Collection[int], wanted: int
) -> dict[str, np.ndarray]:
    """Detections of the classes with keypoints, as :meth:`.Detections.of` takes them.

    Args:
        pred: n predictions, with keypoints (n, K, 2) and keypoint_scores (n, K).
        result: what CocoMetric stores of them.
        labels: of the classes with keypoints.
        wanted: K of the dataset.

    Raises:
        UserError: there are none, or of other shapes.
    """
    count = len(result["labels"])
    if "keypoints" not in pred or "keypoint_scores" not in pred:
        raise UserError(
            "metric 'keypoints' needs predictions with keypoints and keypoint_scores, "
            "from a keypoint head (roi_head.keypoint_head). The predictions have "
            f"{sorted(pred.keys())}."
        )
    points, scores = pred["keypoints"], pred["keypoint_scores"]
    if points.shape != (count, wanted, 2) or scores.shape != (count, wanted):
        raise UserError(
            f"{count} detections have keypoints of shape {tuple(points.shape)} and "
            f"keypoint_scores of shape {tuple(scores.shape)}, but "
            f"metainfo['keypoints'] has {wanted} names: the shapes have to be "
            f"({count}, {wanted}, 2) and ({count}, {wanted}); see the keypoint head's number "
            "of keypoints."
        )
    rows = np.isin(result["labels"], list(labels))
    return dict(
        labels=result["labels"][rows],
        scores=result["scores"][rows],
        keypoints=points.cpu().numpy()[rows],
        keypoint_scores=scores.cpu().numpy()[rows],
    )


def once(results: Sequence[tuple[dict, dict]]) -> list[tuple[dict, dict]]:
    """The results without those of images that came again (RepeatDataset and its like).

    Each of their detections would count as another one, at the same place.

    Raises:
        UserError: two images have the same id.
    """
    by_id: dict = {}
    for truth, result in results:
        first = by_id.setdefault(result["img_id"], (truth, result))[1].get("img_path")
        path = result.get("img_path")
        if path != first:
            raise UserError(
                f"images {first} and {path} have the same id {result['img_id']}, so neither "
                "can be evaluated: give each image in the joined annotation files its own "
                "id."
            )
    return list(by_id.values())


def detections(
    metric: str, results: Sequence[dict], category_ids: Mapping[int, int], boxes: bool = False
) -> Detections:
    """What a metric scores, alone or with boxes, too; masks may have scores of their own.

    Args:
        metric: one of METRIC_NAMES.
        results: stored ones, one an image.
        category_ids: by label.
        boxes: with the boxes.
    """
    found = [(r["img_id"], r[KEYPOINTS] if metric == KEYPOINTS else r) for r in results]
    if metric == "segm":
        found = [(i, {**r, "scores": r.get("mask_scores", r["scores"])}) for i, r in found]
    kind = metric if metric in KINDS else "bbox"
    return Detections.of(found, category_ids, {kind, "bbox"} if boxes else {kind})


def write_files(prefix: str, found: Mapping[str, Detections]) -> str:
    """Write ``PREFIX.NAME.json`` for each; returns the names of all in one."""
    for name, one in found.items():
        put_text(json.dumps(one.to_coco()), f"{prefix}.{name}.json")
    return f"{prefix}.{{{','.join(found)}}}.json"
