"""The box coder of Detectron2 and torchvision, to the last digit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS
from torch import Tensor

LARGEST_LOG_SCALE = math.log(1000 / 16)


@TASK_UTILS.register_module()
class WeightedBoxCoder(DeltaXYWHBBoxCoder):
    """DeltaXYWHBBoxCoder with weights instead of their inverses, the standard deviations.

    Decoding differs from mmdet's in float32's last digits, which decides near-ties in NMS, and in
    that a box may shrink by any factor: only growth is limited, to 1000 / 16.

    Args:
        weights: of dx, dy, dw, dh: (10, 10, 5, 5) for RoIs, (1, 1, 1, 1) for anchors.
        clip_border: clip decoded boxes to the image.
    """

    def __init__(self, weights: Sequence[float], clip_border: bool = True) -> None:
        super().__init__(target_stds=[1 / weight for weight in weights], clip_border=clip_border)
        self.weights = tuple(float(weight) for weight in weights)

    def decode(
        self,
        bboxes: Tensor,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | None = None,
    ) -> Tensor:
        """Boxes that the deltas lead to.

        Args:
            bboxes: (N, 4) anchors or RoIs, xyxy.
            pred_bboxes: (N, 4 k) deltas, k for each box.
            max_shape: (height, width) of the image to clip to.

        Returns:
            (N, 4 k) xyxy in float32.
        """
        deltas = pred_bboxes.float().unflatten(1, (-1, 4))
        boxes = bboxes.to(deltas.dtype)
        sizes = boxes[:, 2:] - boxes[:, :2]
        centres = boxes[:, :2] + 0.5 * sizes
        weights = deltas.new_tensor(self.weights)
        moves = deltas[..., :2] / weights[:2]
        log_scales = (deltas[..., 2:] / weights[2:]).clamp(max=LARGEST_LOG_SCALE)
        centres = moves * sizes[:, None] + centres[:, None]
        halves = 0.5 * (torch.exp(log_scales) * sizes[:, None])
        decoded = torch.cat([centres - halves, centres + halves], -1)
        if self.clip_border and max_shape is not None:
            decoded[..., 0::2].clamp_(min=0, max=max_shape[1])
            decoded[..., 1::2].clamp_(min=0, max=max_shape[0])
        return decoded.flatten(1)
