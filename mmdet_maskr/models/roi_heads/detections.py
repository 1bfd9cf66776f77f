"""What a convention of the RoI head changes in mmdet's detections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor, nn

from mmdet_maskr import conventions
from mmdet_maskr.ops.boxes import rescaled


def in_float32(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """A box branch's logits (R, K + 1) and deltas (R, 4 K), in float32 in mixed precision too."""
    for name in ("cls_score", "bbox_pred"):
        if isinstance(results[name], Tensor):  # of some box heads it is a pair, or None
            results[name] = results[name].float()
    return results


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


def predict_boxes(
    predict: Callable[..., InstanceList],
    bbox_head: nn.Module,
    x: tuple[Tensor],
    batch_img_metas: list[dict],
    rpn_results_list: InstanceList,
    rcnn_test_cfg: ConfigType,
    rescale: bool = False,
    **kwargs,
) -> InstanceList:
    """Detections of the convention of ``rcnn_test_cfg``, from the boxes that mmdet scores.

    Args:
        predict: mmdet's ``predict_bbox``.
        bbox_head: the box head, of a cascade those of all stages.
        x: feature maps, each (B, C, H_l, W_l).
        batch_img_metas: for each image its meta information.
        rpn_results_list: for each image the proposals in pixels of the network's input.
        rcnn_test_cfg: ``score_thr``, ``nms`` and ``max_per_img``; None for boxes and scores of
            all proposals and classes.
        rescale: give boxes in pixels of the original image.
        kwargs: further arguments of ``predict``.
    """
    convention = conventions.of_test_cfg("test_cfg.rcnn", rcnn_test_cfg)
    if not convention.chooses or rcnn_test_cfg is None:
        return predict(
            x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale=rescale, **kwargs
        )
    last = bbox_head[-1] if isinstance(bbox_head, nn.ModuleList) else bbox_head
    with unclipped(last.bbox_coder) as clips:  # a clipped box is always finite
        scored = predict(x, batch_img_metas, rpn_results_list, None, **kwargs)
    results_list = []
    for candidates, meta in zip(scored, batch_img_metas, strict=True):
        scores = candidates.scores[:, : last.num_classes]  # the background is the last
        limits = meta["img_shape"] if clips else None
        results = convention.detections(candidates.bboxes, scores, rcnn_test_cfg, limits)
        if rescale:
            results.bboxes = rescaled(results.bboxes, meta["scale_factor"])
        results_list.append(results)
    return results_list
