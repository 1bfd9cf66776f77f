"""PointRend's RoI head (Kirillov et al. 2020) for images without objects or detections."""

from __future__ import annotations

from mmdet.models.roi_heads import PointRendRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from torch import Tensor


@MODELS.register_module()
class MaskRPointRendRoIHead(PointRendRoIHead):
    """mmdet's PointRendRoIHead, which asserts that there are positive RoIs and detections.

    Here a batch without positive RoIs has a point loss of zero that depends on the point head's
    parameters, and an image without detections has no masks, even if others of its batch do.
    Options and parameters are those of PointRendRoIHead.
    """

    def _mask_point_loss(
        self,
        x: tuple[Tensor],
        sampling_results: list[SamplingResult],
        mask_preds: Tensor,
        batch_gt_instances: InstanceList,
    ) -> dict:
        """mmdet's ``loss_point`` and ``point_target``; without positive RoIs 0, not a mean of none.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            sampling_results: the sampled RoIs of each image.
            mask_preds: (N, K, m, m) coarse logits of the positive RoIs.
            batch_gt_instances: ground truth of each image, with ``masks``.
        """
        if len(mask_preds):
            return super()._mask_point_loss(x, sampling_results, mask_preds, batch_gt_instances)
        points = mask_preds.new_zeros(0, 1, 2)
        fine = self._get_fine_grained_point_feats(x, mask_preds.new_zeros(0, 5), points)
        logits = self.point_head(fine, mask_preds.flatten(2)[..., :1])
        return dict(loss_point=logits.sum(), point_target=logits[:, 0].detach())

    def _get_fine_grained_point_feats(
        self, x: tuple[Tensor], rois: Tensor, rel_roi_points: Tensor
    ) -> Tensor:
        """(N, C, P) features of the P points in each of N RoIs, which may be none."""
        if len(rois):
            return super()._get_fine_grained_point_feats(x, rois, rel_roi_points)
        read = x[: self.mask_roi_extractor.num_inputs]
        channels = sum(level.shape[1] for level in read)
        empty = read[0].new_zeros(0, channels, rel_roi_points.shape[1])
        return empty + sum(level[:0].sum() for level in read)
