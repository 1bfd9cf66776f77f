"""Detections of one image as Detectron2 and torchvision choose them."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.utils import InstanceList
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


def select_from_batch(
    scored: InstanceList,
    batch_img_metas: Sequence[dict],
    num_classes: int,
    cfg: ConfigDict,
    convention: str,
    rescale: bool,
) -> InstanceList:
    """:func:`select_detections` for each image.

    Args:
        scored: for each image ``bboxes`` (R, 4 K or 4) and ``scores`` (R, K + 1), background last.
        batch_img_metas: for each image ``scale_factor``.
        num_classes: K.
        cfg: see :func:`select_detections`.
        convention: 'detectron2' or 'torchvision'.
        rescale: give boxes in pixels of the original image.
    """
    results_list = []
    for candidates, meta in zip(scored, batch_img_metas, strict=True):
        scores = candidates.scores[:, :num_classes]
        results = select_detections(candidates.bboxes, scores, cfg, convention)
        if rescale:
            scale = results.bboxes.new_tensor(meta["scale_factor"]).repeat(2)
            results.bboxes = results.bboxes / scale
        results_list.append(results)
    return results_list
