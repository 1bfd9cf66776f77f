"""A cascade with Detectron2's predictions (Cai and Vasconcelos 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor

from mmdet_maskr import conventions
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.mask_heads.mask_head import check_rle
from mmdet_maskr.models.roi_heads.detections import in_float32, predict_boxes


@MODELS.register_module()
class AveragedCascadeRoIHead(CascadeRoIHead):
    """mmdet's CascadeRoIHead, which averages probabilities of its stages instead of logits.

    Masks come only from the head of the last stage, not from an average. Detectron2 has one mask
    head; a converted model has its weights in all stages. Training is as in mmdet.
    ``test_cfg.rcnn.convention`` works as in :class:`.ParallelRoIHead`.

    Raises:
        UserError: ``test_cfg.rcnn.convention`` or ``mask_output`` is unknown, or the convention
            does not support the options of NMS.
    """

    _averages = False  # whether probabilities are wanted of a stage, to be averaged

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        conventions.of_test_cfg("test_cfg.rcnn", self.test_cfg)
        if self.with_mask:
            check_rle(self.mask_head[-1], self.test_cfg)

    def _bbox_forward(self, stage: int, x: tuple[Tensor], rois: Tensor) -> dict[str, Tensor]:
        """mmdet's, in float32; ``cls_score`` holds probabilities where they are averaged."""
        results = in_float32(super()._bbox_forward(stage, x, rois))
        if self._averages:
            results["cls_score"] = results["cls_score"].softmax(-1)
        return results

    def _refine_roi(
        self,
        x: tuple[Tensor],
        rois: Tensor,
        batch_img_metas: list[dict],
        num_proposals_per_img: Sequence[int],
        **kwargs,
    ) -> tuple:
        """mmdet's, with logits of the averaged probabilities."""
        self._averages = True
        try:
            rois, scores, deltas = super()._refine_roi(
                x, rois, batch_img_metas, num_proposals_per_img, **kwargs
            )
        finally:
            self._averages = False
        return rois, [score.log() for score in scores], deltas

    def predict_bbox(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType,
        rescale: bool = False,
        **kwargs,
    ) -> InstanceList:
        """mmdet's, or the detections of a convention; see :func:`.detections.predict_boxes`."""
        args = (x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale)
        return predict_boxes(super().predict_bbox, self.bbox_head, *args, **kwargs)

    def predict_mask(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        results_list: InstanceList,
        rescale: bool = False,
    ) -> InstanceList:
        """Masks of the kept detections, by the last stage.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            batch_img_metas: for each image its meta information.
            results_list: for each image ``bboxes`` (D, 4) in pixels of the network's input.
            rescale: give masks in pixels of the original image.

        Returns:
            ``results_list`` with ``masks``: (D, H, W), or RLEMasks.
        """
        head = self.mask_head[-1]
        rois = bbox2roi([results.bboxes for results in results_list])
        if len(rois) == 0 and not isinstance(head, ComposedMaskHead):
            return super().predict_mask(x, batch_img_metas, results_list, rescale)
        masks = self._mask_forward(self.num_stages - 1, x, rois)["mask_preds"].float()
        return head.predict_by_feat(
            mask_preds=torch.split(masks, [len(results) for results in results_list]),
            results_list=results_list,
            batch_img_metas=batch_img_metas,
            rcnn_test_cfg=self.test_cfg,
            rescale=rescale,
        )
