"""Detections as Detectron2 and torchvision choose them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.utils import ConfigType, InstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_maskr.models.conventions import check_convention, check_nms, clipped
from mmdet_maskr.ops.nms import grouped_nms


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    cfg: ConfigDict,
    convention: str,
    image_shape: Sequence[int] | None = None,
) -> InstanceData:
    """Boxes above the score threshold, then NMS within classes, then the best of all.

    mmdet moves classes apart before NMS; both of these codebases use torchvision's NMS
    (:func:`grouped_nms`). 'torchvision' also drops boxes with a side below ``cfg.min_bbox_size``
    (0.01 there). 'detectron2' first drops RoIs with a box or a score that is not finite, and last,
    of the best, those without area: its postprocessing does so.

    Args:
        boxes: (R, 4 K) or class-agnostic (R, 4), xyxy.
        scores: (R, K), without the background.
        cfg: ``score_thr``, ``nms.iou_threshold``, ``max_per_img``, ``min_bbox_size``.
        convention: 'detectron2' or 'torchvision'.
        image_shape: (height, width) to clip the boxes to; None where they are clipped.

    Returns:
        ``bboxes`` (D, 4), ``scores`` (D,), ``labels`` (D,) int64; best first.
    """
    if convention == "detectron2":
        finite = boxes.isfinite().all(1) & scores.isfinite().all(1)
        boxes, scores = boxes[finite], scores[finite]
    if image_shape is not None:
        boxes = clipped(boxes.unflatten(1, (-1, 4)), image_shape).flatten(1)
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
    found = found[keep]
    if convention == "detectron2":
        found = found[(found.bboxes[:, 2:] > found.bboxes[:, :2]).all(1)]
    return found


@contextmanager
def unclipped(coder: BaseBBoxCoder) -> Iterator[bool]:
    """Boxes are decoded as they are meanwhile; gives whether the coder would clip them."""
    clips = getattr(coder, "clip_border", False)
    if clips:
        coder.clip_border = False
    try:
        yield clips
    finally:
        if clips:
            coder.clip_border = True


class SourceDetections:
    """Methods that let an RoI head detect as the codebase that :attr:`convention` names does.

    That is ``test_cfg.rcnn.convention``: 'mmdet' (default), 'detectron2' or 'torchvision'.
    """

    # the RoI head's
    bbox_head: nn.Module
    test_cfg: ConfigDict

    def init_convention(self) -> None:
        """Read the convention from the head's ``test_cfg``.

        Raises:
            UserError: an unknown one, or options of NMS that it does not have.
        """
        convention = "mmdet"
        if self.test_cfg is not None:
            convention = self.test_cfg.get("convention", convention)
        self.convention = check_convention("test_cfg.rcnn.convention", convention)
        if convention != "mmdet":
            check_nms("test_cfg.rcnn", convention, self.test_cfg)

    def _bbox_forward(self, *args, **kwargs) -> dict[str, Tensor]:
        """mmdet's, with logits and deltas in float32 under mixed precision too."""
        results = super()._bbox_forward(*args, **kwargs)  # type: ignore[misc]  # the head's
        for name in ("cls_score", "bbox_pred"):
            if isinstance(results[name], Tensor):  # of some box heads it is a pair, or None
                results[name] = results[name].float()
        return results

    def predict_bbox(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType,
        rescale: bool = False,
        **kwargs,
    ) -> InstanceList:
        """mmdet's, or the detections of :attr:`convention` from mmdet's scored boxes.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            batch_img_metas: for each image its meta information.
            rpn_results_list: for each image the proposals in pixels of the network's input.
            rcnn_test_cfg: ``score_thr``, ``nms`` and ``max_per_img``; None for boxes and scores of
                all proposals and classes.
            rescale: give boxes in pixels of the original image.
        """
        predict = super().predict_bbox  # type: ignore[misc]  # of the head beside this class
        if self.convention == "mmdet" or rcnn_test_cfg is None:
            return predict(
                x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale=rescale, **kwargs
            )
        last = self.bbox_head[-1] if isinstance(self.bbox_head, nn.ModuleList) else self.bbox_head
        with unclipped(last.bbox_coder) as clips:  # a clipped box is finite, whatever it was
            scored = predict(x, batch_img_metas, rpn_results_list, None, **kwargs)
        results_list = []
        for candidates, meta in zip(scored, batch_img_metas, strict=True):
            results = select_detections(
                candidates.bboxes,
                candidates.scores[:, : last.num_classes],  # the background is the last
                rcnn_test_cfg,
                self.convention,
                meta["img_shape"] if clips else None,
            )
            if rescale:
                scale = results.bboxes.new_tensor(meta["scale_factor"]).repeat(2)
                results.bboxes = results.bboxes / scale
            results_list.append(results)
        return results_list
