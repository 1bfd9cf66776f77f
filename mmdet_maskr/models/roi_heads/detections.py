"""Detections of one image as Detectron2 and torchvision choose them."""

from __future__ import annotations

from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.ops.nms import grouped_nms


def select_detections(
    boxes: Tensor, scores: Tensor, cfg: ConfigDict, convention: str
) -> InstanceData:
    """Boxes above the score threshold, then NMS within classes, then the best of all.

    mmdet moves classes apart before NMS; both of these codebases use torchvision's NMS
    (:func:`grouped_nms`). 'torchvision' also drops boxes with a side below ``cfg.min_bbox_size``
    (0.01 there).

    Args:
        boxes: (R, 4 K) or class-agnostic (R, 4), xyxy, clipped to the image.
        scores: (R, K), without the background.
        cfg: ``score_thr``, ``nms.iou_threshold``, ``max_per_img``, ``min_bbox_size``.
        convention: 'detectron2' or 'torchvision'.

    Returns:
        ``bboxes`` (D, 4), ``scores`` (D,), ``labels`` (D,) int64; best first.
    """
    rows, labels = (scores > cfg.score_thr).nonzero().unbind(1)
    per_class = boxes.shape[1] > 4
    boxes = boxes.unflatten(1, (-1, 4))[rows, labels if per_class else labels * 0]
    found = InstanceData(bboxes=boxes, scores=scores[rows, labels], labels=labels)
    if convention == "torchvision":
        sides = boxes[:, 2:] - boxes[:, :2]
        found = found[(sides >= cfg.get("min_bbox_size", 0)).all(1)]
    keep = grouped_nms(found.bboxes, found.scores, found.labels, cfg.nms.iou_threshold)
    if cfg.max_per_img >= 0:
        keep = keep[: cfg.max_per_img]
    return found[keep]
