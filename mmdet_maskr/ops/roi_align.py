"""RoIAlign (He et al. 2017, section 3, "RoIAlign"), equal to mmcv's op.

No coordinate is rounded: each bin averages bilinear samples at exact positions. On CUDA this is
mmcv's kernel. On a CPU, average pooling is a product with a sparse matrix, several times as fast
as mmcv's loop (see ``maskr benchmark roi-align``); max pooling goes to mmcv.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.ops.roi_align import RoIAlignFunction
from torch import Tensor

from mmdet_maskr.ops import _checks
from mmdet_maskr.ops._levels_at_once import align_levels
from mmdet_maskr.ops._roi_layer import RoILayer, pool_per_level, without_rois
from mmdet_maskr.ops._sparse_product import Sampling, SparseProduct
from mmdet_maskr.ops.traced_roi_align import traced_roi_align
from mmdet_maskr.tracing import is_traced


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    pool_mode: str = "avg",
    aligned: bool = True,
) -> Tensor:
    """Pool each RoI to a fixed grid of bins by bilinear samples.

    Args:
        features: (B, C, H, W) in any memory format; float32, float64, bfloat16 or float16.
        rois: (N, 5): image index in the batch, then x1, y1, x2, y2 in pixels of the image. Used in
            float32 for features of any type but float64.
        output_size: bins (height, width), or one number for both.
        spatial_scale: pixels of the feature map per pixel of the image, 1 / stride.
        sampling_ratio: samples per bin and axis; 0 for as many as the bin has pixels.
        pool_mode: 'avg' or 'max' over a bin's samples.
        aligned: pixel centers lie at .5, as in Detectron2. False is the first release's: centers
            at integers, and RoIs are one pixel large at least.

    Returns:
        (N, C, height, width) in the features' type, channels_last where they are. Zero RoIs give
        an empty tensor that is part of the graph. Not differentiable in the RoIs, as in mmcv.

    Raises:
        UserError: an option, shape, device or RoI that does not fit; it names the value.
    """
    return roi_align_pyramid(
        [features], rois, None, output_size, [spatial_scale], sampling_ratio, pool_mode, aligned
    )


def roi_align_pyramid(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor | None,
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = 0,
    pool_mode: str = "avg",
    aligned: bool = True,
) -> Tensor:
    """RoIAlign on a pyramid: each RoI is pooled from its level. One product on a CPU.

    Args:
        features: for each level (B, C, H_l, W_l).
        rois: (N, 5), see :func:`roi_align`.
        levels: (N,) index of the level of each RoI; None where there is one level.
        spatial_scales: scale of each level.
        output_size, sampling_ratio, pool_mode, aligned: see :func:`roi_align`.

    Returns:
        (N, C, height, width) in the order of the RoIs; see :func:`roi_align`.

    Raises:
        UserError: see :func:`roi_align`; also a level outside the pyramid.
    """
    output_size = _checks.check_output_size(output_size)
    scales = _checks.check_scales(spatial_scales, features)
    sampling_ratio = _checks.check_sampling_ratio(sampling_ratio)
    _checks.check_pool_mode(pool_mode)
    _checks.check_features(features)
    rois, levels = _checks.check_rois(rois, levels, features)

    in_trace = is_traced() and not torch.onnx.is_in_onnx_export()  # ONNX has RoIAlign itself
    on_cpu = features[0].device.type == "cpu" and not is_traced()
    if on_cpu and pool_mode == "avg":
        return _sparse_roi_align(
            features, rois, levels, output_size, scales, sampling_ratio, aligned
        )

    if pool_mode == "avg" and len(features) > 1 and len(rois) and not is_traced():
        maps = [level.to(rois.dtype).contiguous() for level in features]
        pooled = align_levels(
            maps, rois, levels, output_size, scales, sampling_ratio, bool(aligned)
        )
        return pooled.to(features[0].dtype, memory_format=_checks.memory_format(features))

    def pool(level: int, rois: Tensor) -> Tensor:
        args = (features[level], rois, output_size, scales[level], sampling_ratio)
        if in_trace:
            return traced_roi_align(*args, bool(aligned), pool_mode)
        return _mmcv_roi_align(*args, pool_mode, aligned)

    return pool_per_level(features, rois, levels, pool)


@torch.compiler.disable  # NumPy builds the matrix, from values
def _sparse_roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    output_size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    sampling = Sampling(
        rois.numpy(), levels.numpy(), scales, output_size, sampling_ratio, bool(aligned)
    )
    return SparseProduct.apply(sampling, *features)


def _mmcv_roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: str,
    aligned: bool,
) -> Tensor:
    """mmcv's op, on one level.

    It reads RoIs in the features' type and takes any memory for NCHW, so that it gets contiguous
    float32 (or float64) features, but for exporters, which only look for its symbol.
    """
    if torch.onnx.is_in_onnx_export():
        return RoIAlignFunction.apply(
            features.contiguous(),
            rois,
            output_size,
            spatial_scale,
            sampling_ratio,
            pool_mode,
            aligned,
        )
    if len(rois) == 0:
        return without_rois(features, output_size)
    pooled = RoIAlignFunction.apply(
        features.to(rois.dtype).contiguous(),
        rois,
        output_size,
        spatial_scale,
        sampling_ratio,
        pool_mode,
        aligned,
    )
    return pooled.to(features.dtype, memory_format=_checks.memory_format([features]))


class RoIAlign(RoILayer):
    """:func:`roi_align` as a module without parameters, with mmcv's options.

    Raises:
        UserError: an option has a value that does not fit.
    """

    pyramid = staticmethod(roi_align_pyramid)
    options = ("sampling_ratio", "pool_mode", "aligned")

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = 0,
        pool_mode: str = "avg",
        aligned: bool = True,
        use_torchvision: bool = False,  # mmcv's: another kernel for the same numbers
    ) -> None:
        super().__init__(output_size, spatial_scale)
        self.sampling_ratio = _checks.check_sampling_ratio(sampling_ratio)
        self.pool_mode = _checks.check_pool_mode(pool_mode)
        self.aligned = bool(aligned)
