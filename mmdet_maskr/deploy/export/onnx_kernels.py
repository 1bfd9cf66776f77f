"""NMS and RoIAlign as ONNX's own operators.

During tracing, mmcv's and our ops compute the values; in the graph, each is one node.
"""

from __future__ import annotations

import torch
from mmcv.ops import nms as mmcv_nms
from torch import Tensor

from mmdet_maskr.ops import roi_align as our_roi_align

MIN_OPSET = 16  # RoiAlign with exact pixel centers


class _NMS(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: object,
        boxes: Tensor,
        scores: Tensor,
        iou_threshold: float,
        score_threshold: float,
        max_num: int,
    ) -> Tensor:
        kept = []
        for group, (group_boxes, group_scores) in enumerate(zip(boxes, scores[:, 0], strict=True)):
            valid = (group_scores > score_threshold).nonzero()[:, 0]
            keep = mmcv_nms(
                group_boxes[valid].contiguous(), group_scores[valid].contiguous(), iou_threshold
            )[1]
            index = valid[keep][:max_num]
            kept.append(torch.stack([index * 0 + group, index * 0, index], 1))
        return torch.cat(kept)

    @staticmethod
    def symbolic(g, boxes, scores, iou_threshold, score_threshold, max_num):
        def constant(value: float | int, dtype: torch.dtype):
            return g.op("Constant", value_t=torch.tensor([value], dtype=dtype))

        return g.op(
            "NonMaxSuppression",
            boxes,
            scores,
            constant(max_num, torch.int64),
            constant(iou_threshold, torch.float32),
            constant(score_threshold, torch.float32),
        )


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: object,
        features: Tensor,
        boxes: Tensor,
        batch_index: Tensor,
        output_size: tuple[int, int],
        scale: float,
        sampling_ratio: int,
        aligned: bool,
    ) -> Tensor:
        rois = torch.cat([batch_index[:, None].to(boxes), boxes], 1)
        return our_roi_align(
            features, rois, output_size, scale, sampling_ratio, aligned=aligned
        ).contiguous()

    @staticmethod
    def symbolic(g, features, boxes, batch_index, output_size, scale, sampling_ratio, aligned):
        return g.op(
            "RoiAlign",
            features,
            boxes,
            batch_index,
            coordinate_transformation_mode_s="half_pixel" if aligned else "output_half_pixel",
            mode_s="avg",
            output_height_i=output_size[0],
            output_width_i=output_size[1],
            sampling_ratio_i=sampling_ratio,
            spatial_scale_f=scale,
        )


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_num: int
) -> Tensor:
    """NMS in several groups at once.

    Args:
        boxes: (G, N, 4) xyxy.
        scores: (G, N).
        iou_threshold: a box is dropped if its IoU with a better box of its group is higher.
        score_threshold: a box is dropped if its score is not higher.
        max_num: largest number of boxes needed from each group.

    Returns:
        (M, 2) group and index of each kept box, in any order.
    """
    kept = _NMS.apply(boxes, scores[:, None], iou_threshold, score_threshold, max_num)
    return kept[:, ::2]


def roi_align(
    features: Tensor,
    boxes: Tensor,
    output_size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign on one image.

    Args:
        features: (1, C, H, W).
        boxes: (N, 4) xyxy in pixels of the network's input; N may be 0.
        output_size: bins (height, width).
        scale: pixels of the map per pixel of the input.
        sampling_ratio: samples per bin and axis; 0 for as many as the bin has pixels.
        aligned: pixel centers lie at .5.

    Returns:
        (N, C, height, width).
    """
    batch_index = boxes.new_zeros(boxes.shape[0], dtype=torch.int64)
    return _RoIAlign.apply(
        features, boxes, batch_index, output_size, scale, sampling_ratio, aligned
    )
