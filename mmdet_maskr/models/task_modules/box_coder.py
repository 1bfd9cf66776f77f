"""The box coder of Detectron2 and torchvision, to the last digit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes, get_box_tensor
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.constants import constant

LARGEST_LOG_SCALE = math.log(1000 / 16)


@TASK_UTILS.register_module()
class WeightedBoxCoder(DeltaXYWHBBoxCoder):
    """DeltaXYWHBBoxCoder with weights instead of their inverses, the standard deviations.

    Decoding differs from mmdet's in float32's last digits, which decides near-ties in NMS, and in
    that a box may shrink by any factor: only growth is limited, to 1000 / 16.

    Args:
        weights: of dx, dy, dw, dh: (10, 10, 5, 5) for RoIs, (1, 1, 1, 1) for anchors.
        clip_border: clip decoded boxes to the image.
        target_means: DeltaXYWHBBoxCoder's; zeros only.
        target_stds: its deviations, in place of weights, which are their inverses.
        add_ctr_clamp: its limit of moves; False only.
        ctr_clamp: does nothing without it.
        use_box_type: give decoded boxes as HorizontalBoxes.

    Raises:
        UserError: neither weights nor deviations, or both; means and limits that are not there.
    """

    def __init__(
        self,
        weights: Sequence[float] | None = None,
        clip_border: bool = True,
        target_means: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
        target_stds: Sequence[float] | None = None,
        add_ctr_clamp: bool = False,
        ctr_clamp: int = 32,
        use_box_type: bool = False,
    ) -> None:
        if (weights is None) == (target_stds is None):
            raise UserError(
                "WeightedBoxCoder needs either weights or target_stds (their inverses)."
            )
        if any(target_means) or add_ctr_clamp:
            raise UserError(
                "WeightedBoxCoder has no target_means and no add_ctr_clamp: for these set "
                "bbox_coder.type='DeltaXYWHBBoxCoder'."
            )
        if weights is None:
            weights = [1 / deviation for deviation in target_stds or ()]
        super().__init__(
            target_stds=[1 / weight for weight in weights],
            clip_border=clip_border,
            ctr_clamp=ctr_clamp,
            use_box_type=use_box_type,
        )
        self.weights = tuple(float(weight) for weight in weights)

    def decode(
        self,
        bboxes: Tensor | BaseBoxes,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | None = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor | BaseBoxes:
        """Boxes that the deltas lead to.

        Args:
            bboxes: (N, 4) anchors or RoIs, xyxy.
            pred_bboxes: (N, 4 k) deltas, k for each box.
            max_shape: (height, width) of the image to clip to.
            wh_ratio_clip: boxes grow by its inverse at most.

        Returns:
            (N, 4 k) xyxy in float32; HorizontalBoxes with ``use_box_type``.
        """
        bboxes = get_box_tensor(bboxes)
        deltas = pred_bboxes.float().unflatten(1, (-1, 4))
        boxes = bboxes.to(deltas.dtype)
        sizes = boxes[:, 2:] - boxes[:, :2]
        centers = boxes[:, :2] + 0.5 * sizes
        weights = constant(self.weights, deltas)
        moves = deltas[..., :2] / weights[:2]
        log_scales = (deltas[..., 2:] / weights[2:]).clamp(max=abs(math.log(wh_ratio_clip)))
        centers = moves * sizes[:, None] + centers[:, None]
        halves = 0.5 * (torch.exp(log_scales) * sizes[:, None])
        decoded = torch.cat([centers - halves, centers + halves], -1)
        if self.clip_border and max_shape is not None:
            decoded[..., 0::2].clamp_(min=0, max=max_shape[1])
            decoded[..., 1::2].clamp_(min=0, max=max_shape[0])
        decoded = decoded.flatten(1)
        return HorizontalBoxes(decoded) if self.use_box_type else decoded
