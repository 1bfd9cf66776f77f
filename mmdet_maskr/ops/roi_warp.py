"""RoIWarp (Dai et al. 2016), as He et al. 2017 compare it with RoIAlign (table 2c).

The RoI's boundary is rounded as in RoIPool; inside, bins are sampled bilinearly as in RoIAlign. It
shares RoIAlign's sampling and RoIPool's misalignment. Dai et al. also differentiate with respect
to the box; here, as in the comparison, boxes are constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_maskr.ops import _checks
from mmdet_maskr.ops._quantize import quantize_boxes
from mmdet_maskr.ops._roi_layer import RoILayer
from mmdet_maskr.ops.roi_align import roi_align_pyramid


def roi_warp(
    features: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    pool_mode: str = "avg",
    sampling_ratio: int = 0,
) -> Tensor:
    """Bilinear samples in each bin of a RoI that is rounded to whole pixels.

    Args:
        features: (B, C, H, W) in any memory format and float type.
        rois: (N, 5): image index in the batch, then x1, y1, x2, y2 in pixels of the image.
        output_size: bins (height, width), or one number for both.
        spatial_scale: pixels of the feature map per pixel of the image, 1 / stride.
        pool_mode: 'avg' or 'max' over a bin's samples.
        sampling_ratio: samples per bin and axis; 0 for as many as the bin has pixels.

    Returns:
        (N, C, height, width) in the features' type, as :func:`~mmdet_maskr.ops.roi_align` (aligned)
        of the boxes [round(x1 * scale), round(x2 * scale) + 1).

    Raises:
        UserError: an option, shape, device or RoI that does not fit; it names the value.
    """
    return roi_warp_pyramid(
        [features], rois, None, output_size, [spatial_scale], pool_mode, sampling_ratio
    )


def roi_warp_pyramid(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor | None,
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
    pool_mode: str = "avg",
    sampling_ratio: int = 0,
) -> Tensor:
    """:func:`roi_warp` of each RoI from its level, (N,); one product on a CPU."""
    scales = _checks.check_scales(spatial_scales, features)
    _checks.check_features(features)
    rois, levels = _checks.check_rois(rois, levels, features)
    scale = rois.new_tensor(scales)[levels][:, None]
    rois = torch.cat([rois[:, :1], quantize_boxes(rois, scale)], dim=1)
    return roi_align_pyramid(
        features, rois, levels, output_size, [1.0] * len(scales), sampling_ratio, pool_mode
    )


class RoIWarp(RoILayer):
    """:func:`roi_warp` as a module without parameters."""

    pyramid = staticmethod(roi_warp_pyramid)
    options = ("pool_mode", "sampling_ratio")

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float = 1.0,
        pool_mode: str = "avg",
        sampling_ratio: int = 0,
    ) -> None:
        super().__init__(output_size, spatial_scale)
        self.pool_mode = _checks.check_pool_mode(pool_mode)
        self.sampling_ratio = _checks.check_sampling_ratio(sampling_ratio)
