"""RoIAlign and RoIPool as MMCV computes them, forward and backward.

Averages on a CPU are products with a sparse matrix (:mod:`mmdet_maskr.ops.roi_align`). Elsewhere
torchvision's kernel serves, or the same matrix on the device. MMCV's maximum over a bin's samples
is done by torch, and so is its RoIPool, which does not round RoIs (torchvision's does).

Symbols: N RoIs, B images, C channels, P x Q bins, S samples in all.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdet_maskr.ops._plane_align import align_planes
from mmdet_maskr.ops._sparse_product import Sampling, SparseProduct, write_gradient
from mmdet_maskr.ops.mmcv_ext import torchvision
from mmdet_maskr.ops.mmcv_ext.elsewhere import or_on_cpu
from mmdet_maskr.ops.roi_pool import largest_in_rectangles, largest_of_bags

MAX, AVERAGE = 0, 1  # pool_mode
NOTHING = -10000.0  # MMCV's maximum over no samples
SAMPLE_BYTES = 64 * 2**20  # of the samples of MAX that are in memory at once


@torch.compiler.disable  # NumPy builds the matrix, from values
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the bins into ``output``.

    Args:
        input: (B, C, H, W).
        rois: (N, 5) image index, x1, y1, x2, y2.
        output: (N, C, P, Q).
        argmax_y, argmax_x: (N, C, P, Q), written where ``pool_mode`` is MAX: the place of the
            largest sample in pixels of the map, -1 where a bin has none. Empty for AVERAGE.
        aligned_height, aligned_width: P and Q.
        spatial_scale: pixels of the map per pixel of the image.
        sampling_ratio: samples per bin and axis; 0 for as many as the bin has pixels.
        pool_mode: MAX or AVERAGE.
        aligned: pixel centers lie at .5.
    """
    if len(rois) == 0:
        return
    size = (aligned_height, aligned_width)
    options = (rois, spatial_scale, size, sampling_ratio, aligned)
    features = input.detach()
    if pool_mode == MAX:
        _write_largest(features, options, output, argmax_y, argmax_x)
    elif input.device.type == "cpu" and input.shape[1] == 1:
        _check_sizes(rois, aligned)
        planes = _exact(features[:, 0])
        exact_rois = _exact(rois.detach()).numpy()
        ratio = max(sampling_ratio, 0)
        output[:, 0] = align_planes(planes, exact_rois, spatial_scale, size, ratio, aligned)
    elif input.device.type == "cpu":
        output.copy_(SparseProduct.apply(_sampling(*options), features))
    else:
        output.copy_(_averages_elsewhere(features, *options))


@torch.compiler.disable
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the features into ``grad_input``, (B, C, H, W), which is zero."""
    if len(rois) == 0:
        return
    size = (aligned_height, aligned_width)
    options = (rois, spatial_scale, size, sampling_ratio, aligned)
    if pool_mode == MAX:
        _scatter_to_neighbors(grad_output, rois, argmax_y, argmax_x, grad_input)
    elif grad_input.device.type == "cpu":
        write_gradient(_sampling(*options), grad_output, grad_input)
    else:
        features = torch.zeros_like(grad_input, requires_grad=True)
        with torch.enable_grad():
            pooled = _averages_elsewhere(features, *options)
        grad_input.copy_(torch.autograd.grad(pooled, features, grad_output)[0])


def _averages_elsewhere(
    features: Tensor,
    rois: Tensor,
    scale: float,
    size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """(N, C, P, Q) on another device than a CPU, differentiable in the features."""
    if torchvision.has("roi_align", features.device.type):
        roi_align = torchvision.op("roi_align")
        return roi_align(features, rois.to(features.dtype), size, scale, sampling_ratio, aligned)
    sampling = _sampling(rois, scale, size, sampling_ratio, aligned)
    return or_on_cpu("RoIAlign", lambda maps: product_on_device(sampling, maps), features)


def _sampling(
    rois: Tensor, scale: float, size: tuple[int, int], sampling_ratio: int, aligned: bool
) -> Sampling:
    rois = _exact(rois.detach()).cpu()
    _check_sizes(rois, aligned)
    levels = torch.zeros(len(rois), dtype=torch.int64)
    return Sampling(
        rois.numpy(), levels.numpy(), [scale], size, max(sampling_ratio, 0), bool(aligned)
    )


def _check_sizes(rois: Tensor, aligned: bool) -> None:
    if aligned and bool((rois[:, 3:] < rois[:, 1:3]).any()):
        raise ValueError("RoIs in RoIAlign cannot have a negative size: x1 <= x2 and y1 <= y2.")


def _exact(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def product_on_device(sampling: Sampling, features: Tensor) -> Tensor:
    """(N, C, P, Q): the sparse matrix, built on the host, times a map on its device."""
    (matrix,) = sampling.matrices([features], fused=True)
    table = features.permute(0, 2, 3, 1).flatten(0, 2)
    table = table if table.dtype == torch.float64 else table.float()

    def moved(array) -> Tensor:
        return torch.from_numpy(array).to(features.device)

    bins = F.embedding_bag(
        moved(matrix.indices),
        table,
        moved(matrix.offsets),
        mode="sum",
        per_sample_weights=moved(matrix.weights).to(table.dtype),
        include_last_offset=True,
    ).view(len(matrix.rois), matrix.bins, -1)
    if matrix.dead is not None:
        bins = bins.masked_fill(moved(matrix.dead)[:, :, None], 0)
    pooled = torch.empty_like(bins).index_copy(0, moved(matrix.rois), bins)
    return pooled.transpose(1, 2).unflatten(2, sampling.output_size).to(features.dtype)


def _write_largest(
    features: Tensor,
    options: tuple[Tensor, float, tuple[int, int], int, bool],
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
) -> None:
    """Write the largest bilinear sample of each bin and its place, some RoIs at a time."""
    rois, scale, size, sampling_ratio, aligned = options
    channels, height, width = features.shape[1:]
    kind = torch.float64 if features.dtype == torch.float64 else torch.float32
    table = features.permute(0, 2, 3, 1).reshape(-1, channels).to(kind)
    rois = rois.detach().to(kind)
    offset = 0.5 if aligned else 0.0
    begin = rois[:, 1:3] * scale - offset
    extent = rois[:, 3:] * scale - offset - begin
    if not aligned:
        extent = extent.clamp(min=1)
    bin_size = extent / extent.new_tensor([size[1], size[0]])  # x, y
    grid = bin_size.ceil() if sampling_ratio <= 0 else torch.full_like(bin_size, sampling_ratio)
    grid = grid.long().clamp(min=0)
    bins = size[0] * size[1]
    for chosen in _chunks(grid.prod(1) * (bins * channels * table.element_size())):
        values, y, x = _samples(
            table, rois[chosen, 0], begin[chosen], bin_size[chosen], grid[chosen], size,
            (height, width),
        )  # fmt: skip
        per_bin = grid[chosen].prod(1).repeat_interleave(bins)
        every = torch.arange(len(values), device=values.device)
        largest, index = largest_of_bags(values, every, per_bin)
        empty = (per_bin == 0)[:, None]
        y, x = (F.pad(place, (0, 1))[index].masked_fill(empty, -1) for place in (y, x))
        found = (largest.masked_fill(empty, NOTHING), y, x)
        for target, value in zip((output, argmax_y, argmax_x), found, strict=True):
            value = value.view(len(chosen), *size, channels).permute(0, 3, 1, 2)
            target[chosen] = value.to(target.dtype)


def _chunks(sizes: Tensor) -> Iterator[Tensor]:
    """Indices in order, in groups of at most SAMPLE_BYTES or of one."""
    group = (sizes.cumsum(0) - sizes) // SAMPLE_BYTES
    for number in group.unique():
        yield (group == number).nonzero()[:, 0]


def _samples(
    table: Tensor,
    image: Tensor,
    begin: Tensor,
    bin_size: Tensor,
    grid: Tensor,
    size: tuple[int, int],
    map_size: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """All bilinear samples (S, C) of n RoIs, bin by bin in reading order, and their y and x.

    Args:
        table: (pixels, C).
        image: (n,) index of the image.
        begin, bin_size: (n, 2) x, y in pixels of the map.
        grid: (n, 2) samples of a bin along x, y.
        size: P, Q.
        map_size: height and width of the map.
    """
    per_roi = grid.prod(1) * (size[0] * size[1])
    roi = torch.arange(len(grid), device=grid.device).repeat_interleave(per_roi)
    place = torch.arange(len(roi), device=grid.device) - (per_roi.cumsum(0) - per_roi)[roi]
    across, down = grid[roi].unbind(1)
    bin_, sample = place // (across * down), place % (across * down)

    def positions(axis: int, bins: Tensor, samples: Tensor, count: Tensor) -> Tensor:
        step = bin_size[roi, axis]
        return begin[roi, axis] + bins * step + (samples + 0.5) * step / count

    y = positions(1, bin_ // size[1], sample // across, down)
    x = positions(0, bin_ % size[1], sample % across, across)
    pixels, weights = _neighbors(y, x, image[roi].long(), map_size)
    values = F.embedding_bag(pixels, table, mode="sum", per_sample_weights=weights)
    return values, y, x


def _neighbors(
    y: Tensor, x: Tensor, image: Tensor, map_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Four pixels of each place as rows of a table of all images, and their weights, (..., 4)."""
    height, width = map_size
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.long(), x.long()
    below, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    ly, lx = y - top, x - left
    weights = torch.stack([(1 - ly) * (1 - lx), (1 - ly) * lx, ly * (1 - lx), ly * lx], -1)
    rows = torch.stack(
        [top * width + left, top * width + right, below * width + left, below * width + right], -1
    )
    return rows + (image * (height * width))[..., None], weights * inside[..., None]


def _scatter_to_neighbors(
    grad: Tensor, rois: Tensor, y: Tensor, x: Tensor, grad_input: Tensor
) -> None:
    """Add the gradients (N, C, P, Q) to the four pixels around each bin's largest sample."""
    batch, channels, height, width = grad_input.shape
    image = rois[:, 0].long()[:, None, None, None].expand_as(grad)
    pixels, weights = _neighbors(y, x, image, (height, width))
    channel = torch.arange(channels, device=grad.device)[:, None, None, None]
    found = weights * ((y != -1) | (x != -1))[..., None] * grad[..., None]
    flat = grad_input.new_zeros(batch * height * width * channels)
    flat.index_add_(0, (pixels * channels + channel).flatten(), found.flatten().to(flat.dtype))
    grad_input.copy_(flat.view(batch, height, width, channels).permute(0, 3, 1, 2))


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the largest pixel of each bin into ``output`` and its place into ``argmax``.

    The box is [x1, x2 + 1) x [y1, y2 + 1) in pixels of the image, scaled and not rounded; bins are
    rounded outwards.

    Args:
        input: (B, C, H, W).
        rois: (N, 5).
        output: (N, C, P, Q), zero.
        argmax: (N, C, P, Q) int32: y * W + x, -1 where a bin has no pixel.
        pooled_height, pooled_width: P and Q.
        spatial_scale: pixels of the map per pixel of the image.
    """
    argmax.fill_(-1)
    if len(rois) == 0:
        return
    height, width = input.shape[2:]
    rois = rois.detach().to(input.dtype if input.dtype == torch.float64 else torch.float32)
    low, high = rois[:, 1:3] * spatial_scale, (rois[:, 3:] + 1) * spatial_scale
    ranges = []
    for axis, bins, length in ((1, pooled_height, height), (0, pooled_width, width)):
        begin, extent = low[:, axis, None], (high - low)[:, axis, None]
        number = torch.arange(bins, device=rois.device)
        first = (number * (extent / bins) + begin).floor()
        last = ((number + 1) * (extent / bins) + begin).ceil()
        last = torch.where((high > low).all(1)[:, None], last, first)  # a RoI of no size: empty
        ranges += [first.clamp(0, length).long(), last.clamp(0, length).long()]
    y0, y1, x0, x1 = ranges
    pooled, place = largest_in_rectangles(
        input.detach(), rois[:, 0].long(), y0, torch.maximum(y0, y1), x0, torch.maximum(x0, x1)
    )
    output.copy_(pooled)
    argmax.copy_(place)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add each bin's gradient to the pixel that it came from, in ``grad_input``, (B, C, H, W)."""
    if len(rois) == 0:
        return
    channels, height, width = grad_input.shape[1:]
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    place = argmax.long().clamp(min=0) + (plane * (height * width))[:, :, None, None]
    grad = grad_output.masked_fill(argmax < 0, 0)
    flat = torch.zeros_like(grad_input, memory_format=torch.contiguous_format).flatten()
    flat.index_add_(0, place.flatten(), grad.flatten().to(flat.dtype))
    grad_input.add_(flat.view_as(grad_input))
