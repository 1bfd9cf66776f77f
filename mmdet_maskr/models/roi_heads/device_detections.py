"""Detections by mmdet's rules on a GPU, with two synchronizations per image.

mmdet decodes the boxes of all classes and copies each constant to the device. Here, only boxes
above the score threshold are decoded; the results are the same.

Symbols: R RoIs of an image, K classes, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_maskr.models.task_modules.box_coding import decode
from mmdet_maskr.ops.nms import nms_per_level, plain_nms

SPLIT_THRESHOLD = 10000  # from so many boxes on, mmcv's batched_nms goes class by class


def suits(head: nn.Module, cfg: ConfigType | None, device: torch.device) -> bool:
    """Whether :func:`detections` finds what a head's ``predict_by_feat`` does."""
    return (
        device.type != "cpu"
        and isinstance(head, BBoxHead)
        and type(head).predict_by_feat is BBoxHead.predict_by_feat
        and type(head)._predict_by_feat_single is BBoxHead._predict_by_feat_single
        and head.with_cls
        and head.with_reg
        and head.bbox_coder.encode_size == 4
        and head.predict_box_type == "hbox"
        and cfg is not None
        and plain_nms(cfg.get("nms")) is not None
    )


def detections(
    head: BBoxHead,
    rois: Tensor,
    cls_score: Tensor,
    bbox_pred: Tensor,
    img_shape: Sequence[int],
    cfg: ConfigType,
) -> InstanceData:
    """``bboxes`` (D, 4), ``scores`` (D,) and ``labels`` (D,) of an image, best first.

    Args:
        head: see :func:`suits`.
        rois: (R, 5).
        cls_score: (R, K + 1) logits.
        bbox_pred: (R, 4 K), or (R, 4) of a class-agnostic head.
        img_shape: height and width to clip to.
        cfg: ``score_thr``, ``nms`` and ``max_per_img``.
    """
    if head.custom_cls_channels:
        scores = head.loss_cls.get_activation(cls_score)
    else:
        scores = cls_score.softmax(-1)
    scores = scores[:, : head.num_classes]
    rows, labels = (scores > cfg.score_thr).nonzero().unbind(1)
    deltas = bbox_pred.view(len(rois), -1, 4)
    deltas = deltas[rows, 0 if head.reg_class_agnostic else labels]
    boxes = decode(head.bbox_coder, rois[rows, 1:], deltas, img_shape)
    scores = scores[rows, labels]
    most = cfg.max_per_img if cfg.max_per_img > 0 else len(boxes)
    threshold = plain_nms(cfg.nms)
    if len(boxes) == 0:
        keep = rows
    elif threshold is not None and len(boxes) < SPLIT_THRESHOLD:
        keep = nms_per_level(boxes, scores, labels, threshold, most)
    else:
        keep = batched_nms(boxes, scores, labels, cfg.nms)[1][:most]
    return InstanceData(bboxes=boxes[keep], scores=scores[keep], labels=labels[keep])
