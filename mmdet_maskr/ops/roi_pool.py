"""RoIPool (Girshick 2015), the quantized pooling that RoIAlign replaces (He et al. 2017, table 2d).

The RoI's boundary is rounded to whole pixels, then each bin's: bin p of an extent of n pixels is
``[floor(p * n / P), ceil((p + 1) * n / P))``, which is Fast R-CNN's Caffe layer in exact integers.

``mmcv.ops.RoIPool`` is another layer: its CUDA kernel takes the box [x1 * scale, (x2 + 1) * scale)
without rounding it and only rounds the bins outwards (roi_pool_cuda_kernel.cuh), so that the RoI
moves by less than a bin; and it has no CPU kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_maskr.ops import _checks
from mmdet_maskr.ops._quantize import quantize_boxes
from mmdet_maskr.ops._roi_layer import RoILayer, pool_per_level, without_rois
from mmdet_maskr.tracing import is_traced


def roi_pool(
    features: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Maximum over each bin of a RoI that is rounded to whole pixels.

    Args:
        features: (B, C, H, W) in any memory format and float type.
        rois: (N, 5): image index in the batch, then x1, y1, x2, y2 in pixels of the image.
        output_size: bins (height, width), or one number for both.
        spatial_scale: pixels of the feature map per pixel of the image, 1 / stride.

    Returns:
        (N, C, height, width) in the features' type, channels_last where they are. A bin outside
        the map is 0. Of equal maxima the first in reading order gets the gradient. Zero RoIs give
        an empty tensor that is part of the graph.

    Raises:
        UserError: an option, shape, device or RoI that does not fit; it names the value.
    """
    return roi_pool_pyramid([features], rois, None, output_size, [spatial_scale])


def roi_pool_pyramid(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor | None,
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
) -> Tensor:
    """:func:`roi_pool` of each RoI from its level, (N,)."""
    size = _checks.check_output_size(output_size)
    scales = _checks.check_scales(spatial_scales, features)
    _checks.check_features(features)
    rois, levels = _checks.check_rois(rois, levels, features)

    def pool(level: int, rois: Tensor) -> Tensor:
        return _pool(features[level], rois, size, scales[level])

    return pool_per_level(features, rois, levels, pool)


def _pool(features: Tensor, rois: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    if len(rois) == 0 and not is_traced():
        return without_rois(features, size)
    height, width = features.shape[2:]
    boxes = quantize_boxes(rois, scale).long()
    y_begin, y_end = _bin_bounds(boxes[:, 1], boxes[:, 3], size[0], height)
    x_begin, x_end = _bin_bounds(boxes[:, 0], boxes[:, 2], size[1], width)
    pooled, _ = largest_in_rectangles(features, rois[:, 0].long(), y_begin, y_end, x_begin, x_end)
    return pooled.contiguous(memory_format=_checks.memory_format([features]))


def largest_in_rectangles(
    features: Tensor,
    images: Tensor,
    y_begin: Tensor,
    y_end: Tensor,
    x_begin: Tensor,
    x_end: Tensor,
) -> tuple[Tensor, Tensor]:
    """Largest pixel of each bin, which is a rectangle of whole pixels.

    Args:
        features: (B, C, H, W).
        images: (N,) index of each RoI's image.
        y_begin, y_end: (N, P) rows of the bins, [begin, end) within the map.
        x_begin, x_end: (N, Q) columns.

    Returns:
        (N, C, P, Q) in the features' type, 0 where a bin is empty, and the pixels y * W + x that
        they come from, int64, -1 where it is: the first in reading order.
    """
    _, channels, height, width = features.shape
    size = (y_begin.shape[1], x_begin.shape[1])
    # Each bin (n, p, q) is a bag of the pixels in its rectangle, in reading order.
    rows = (y_end - y_begin)[:, :, None].expand(-1, -1, size[1]).flatten()
    columns = (x_end - x_begin)[:, None].expand(-1, size[0], -1).flatten()
    first = (images * height)[:, None, None] + y_begin[:, :, None]
    first = (first * width + x_begin[:, None]).flatten()
    area = rows * columns
    offsets = area.cumsum(0) - area
    bin_of = torch.repeat_interleave(area)
    place = torch.arange(bin_of.shape[0], device=images.device) - offsets[bin_of]
    across = columns[bin_of]
    row = torch.div(place, across, rounding_mode="floor")
    pixels = first[bin_of] + row * width + (place - row * across)

    # in float32 also for the gradients, which are sums over overlapping RoIs
    exact = torch.float64 if features.dtype == torch.float64 else torch.float32
    table = features.permute(0, 2, 3, 1).reshape(-1, channels).to(exact)
    pooled, source = largest_of_bags(table, pixels, area)
    source = (source % (height * width)).masked_fill((area == 0)[:, None], -1)
    pooled, source = (
        found.view(-1, *size, channels).permute(0, 3, 1, 2) for found in (pooled, source)
    )
    return pooled.to(features.dtype), source


def largest_of_bags(table: Tensor, members: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Column by column the largest of each bag of rows, and which row it is.

    Args:
        table: (R, C).
        members: (M,) rows of the table, bag by bag.
        sizes: (K,) how many each bag has.

    Returns:
        (K, C) values and (K, C) int64 rows; both 0 for an empty bag. Of equal ones the first.
    """
    offsets = sizes.cumsum(0) - sizes
    found, _, _, source = torch.embedding_bag(table, members, offsets, mode=2)
    return found, source


def _bin_bounds(begin: Tensor, end: Tensor, bins: int, length: int) -> tuple[Tensor, Tensor]:
    """(N, P) first pixel and the one after the last of each bin, within a map of this length."""
    extent = (end - begin)[:, None]
    bin_ = torch.arange(bins, device=begin.device)
    first = torch.div(bin_ * extent, bins, rounding_mode="floor")
    last = -torch.div(-(bin_ + 1) * extent, bins, rounding_mode="floor")
    first = (first + begin[:, None]).clamp(0, length)
    return first, torch.maximum((last + begin[:, None]).clamp(0, length), first)


class RoIPool(RoILayer):
    """:func:`roi_pool` as a module without parameters."""

    pyramid = staticmethod(roi_pool_pyramid)
