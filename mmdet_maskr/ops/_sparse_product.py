"""The sparse matrix of RoIAlign times feature maps, forward and backward, on a CPU.

torch's ``embedding_bag`` is a vectorised sparse-times-dense product: a bag is a row of the matrix,
its weights the entries, and the table's rows are pixels with all their channels. Two ways lead to
such a table:

- Whole: channels_last float maps are tables already, one a level. Nothing is copied.
- In pieces: other maps are rewritten pixel by pixel, a few channels of all levels at a time. The
  piece fits the processor's cache and is used again, so that there is no second copy of the
  features in memory, whose page faults would cost more than the product.

Data is moved with OpenCV's transpose and NumPy: about five times as fast as torch's strided copy,
and without a team of threads that waits for each other on a busy machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmdet_maskr.ops._checks import memory_format
from mmdet_maskr.ops._sampling_matrix import SamplingMatrix, sampling_matrices
from mmdet_maskr.ops._workers import for_each

BLOCK_BYTES = 4 * 2**20  # of a table that a thread works on at once
PIECE_CHANNELS = 16  # at least: a cache line of float32


@dataclass
class Sampling:
    """How a pyramid is sampled: the arguments of :func:`sampling_matrices`, and the RoIs."""

    rois: NDArray
    levels: NDArray
    scales: Sequence[float]
    output_size: tuple[int, int]
    sampling_ratio: int
    aligned: bool

    def matrices(self, features: Sequence[Tensor], fused: bool) -> list[SamplingMatrix]:
        shapes = [(len(f), f.shape[2], f.shape[3]) for f in features]
        return sampling_matrices(
            self.rois,
            self.levels,
            shapes,
            self.scales,
            self.output_size,
            self.sampling_ratio,
            self.aligned,
            fused,
        )


class SparseProduct(torch.autograd.Function):
    """Bins of a pyramid's RoIs. Differentiable in the features, not in the RoIs."""

    @staticmethod
    def forward(ctx, sampling: Sampling, *features: Tensor) -> Tensor:
        """
        Args:
            sampling: RoIs and what is done with them.
            features: each (B, C, H_l, W_l), of any float type and memory format.

        Returns:
            (N, C, height, width), channels_last where the features are.
        """
        ctx.dtype = features[0].dtype
        ctx.memory_format = memory_format(features)
        ctx.whole = are_tables(features)
        ctx.shapes = [feature.shape for feature in features]
        ctx.matrices = sampling.matrices(features, fused=not ctx.whole)
        product = _whole_forward if ctx.whole else _pieces_forward
        out = product(ctx.matrices, features)
        # .data, as autograd forbids to change views that a function made: HTC adds to RoI features
        return out.unflatten(2, sampling.output_size).data

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the features, in their type and memory format."""
        grad = grad.detach()
        if ctx.whole:
            grads = _whole_backward(ctx.matrices, grad, ctx.shapes, ctx.needs_input_grad[1:])
        else:
            grads = [
                torch.empty(shape, dtype=ctx.dtype, memory_format=ctx.memory_format)
                for shape in ctx.shapes
            ]
            _pieces_backward(ctx.matrices[0], grad, grads)
        return None, *grads


def are_tables(features: Sequence[Tensor]) -> bool:
    """Whether the maps' memory is a table of pixels already: channels_last, or of one channel."""
    return features[0].dtype in (torch.float32, torch.float64) and all(
        feature.is_contiguous(memory_format=torch.channels_last) for feature in features
    )


def write_gradient(sampling: Sampling, grad: Tensor, grad_input: Tensor) -> None:
    """Write the gradient of one map, given that of its bins, into ``grad_input``.

    Args:
        sampling: as in the forward pass, of one level.
        grad: (N, C, height, width).
        grad_input: (B, C, H, W), of any float type and memory format.
    """
    (matrix,) = sampling.matrices([grad_input], fused=True)
    _pieces_backward(matrix, grad.detach(), [grad_input])


def _product(
    indices: NDArray,
    offsets: NDArray,
    weights: NDArray,
    table: Tensor,
    rows: slice = slice(None),
) -> NDArray:
    """Some rows of a sparse matrix in compressed rows, times a table (pixels, C)."""
    offsets = offsets[rows.start : None if rows.stop is None else rows.stop + 1]
    taps = slice(offsets[0], offsets[-1])
    return torch.embedding_bag(
        table,
        torch.from_numpy(indices[taps]),
        torch.from_numpy(offsets - offsets[0]),
        mode=0,  # sum
        per_sample_weights=torch.from_numpy(weights[taps]),
        include_last_offset=True,
    )[0].numpy()


def _blocks(rows: int, row_bytes: int) -> list[slice]:
    """Slices of a number of rows, of at most BLOCK_BYTES each."""
    step = max(1, BLOCK_BYTES // row_bytes)
    return [slice(begin, min(begin + step, rows)) for begin in range(0, rows, step)]


def _whole_forward(matrices: list[SamplingMatrix], features: Sequence[Tensor]) -> Tensor:
    """(N, C, bins) with channels last, from channels_last maps."""
    count = sum(len(matrix.rois) for matrix in matrices)
    channels, bins = features[0].shape[1], matrices[0].bins
    out = features[0].new_empty(count, bins, channels)
    tables = [f.detach().permute(0, 2, 3, 1).flatten(0, 2) for f in features]

    def sample(piece: tuple[int, slice]) -> None:
        level, block = piece
        matrix = matrices[level]
        rows = slice(block.start * bins, block.stop * bins)
        values = _product(matrix.indices, matrix.offsets, matrix.weights, tables[level], rows)
        out.numpy()[matrix.rois[block]] = _alive(values, matrix, block)

    pieces = [
        (level, block)
        for level, matrix in enumerate(matrices)
        for block in _blocks(len(matrix.rois), bins * channels * out.element_size())
    ]
    for_each(sample, pieces)
    return out.transpose(1, 2)


def _alive(values: NDArray, matrix: SamplingMatrix, block: slice = slice(None)) -> NDArray:
    """(n, bins, C) values, of dead bins zero: also where weight zero met NaN or inf."""
    values = values.reshape(-1, matrix.bins, values.shape[-1])
    if matrix.dead is not None:
        values[matrix.dead[block]] = 0
    return values


def _whole_backward(
    matrices: list[SamplingMatrix],
    grad: Tensor,
    shapes: Sequence[torch.Size],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    channels = grad.shape[1]
    rows = grad.permute(0, 2, 3, 1).flatten(0, 2)
    rows = _without_dead(rows, matrices, copy=True).contiguous()
    tables = [
        rows.new_empty(matrix.pixels, channels) if is_needed else None
        for matrix, is_needed in zip(matrices, needed, strict=True)
    ]
    transposed = [
        None if table is None else matrix.transposed()
        for matrix, table in zip(matrices, tables, strict=True)
    ]

    def scatter(piece: tuple[int, slice]) -> None:
        level, block = piece
        table, matrix = tables[level], transposed[level]
        if table is not None and matrix is not None:  # as the pieces are chosen
            table.numpy()[block] = _product(*matrix, rows, block)

    pieces = [
        (level, block)
        for level, table in enumerate(tables)
        if table is not None
        for block in _blocks(len(table), channels * rows.element_size())
    ]
    for_each(scatter, pieces)
    return [
        None if table is None else table.view(b, h, w, channels).permute(0, 3, 1, 2)
        for table, (b, _, h, w) in zip(tables, shapes, strict=True)
    ]


def _without_dead(rows: Tensor, matrices: list[SamplingMatrix], copy: bool) -> Tensor:
    """Gradients (N * bins, C) with those of dead bins zero: NaN there belongs to no pixel."""
    for matrix in matrices:
        if matrix.dead is not None:
            rows = rows.clone() if copy else rows
            copy = False
            roi, position = np.nonzero(matrix.dead)
            rows.numpy()[matrix.rois[roi] * matrix.bins + position] = 0
    return rows


def _channel_pieces(pixels: int, channels: int, dtype: torch.dtype) -> list[slice]:
    fitting = BLOCK_BYTES // (pixels * dtype.itemsize)
    step = max(PIECE_CHANNELS, fitting // PIECE_CHANNELS * PIECE_CHANNELS)
    return [slice(begin, min(begin + step, channels)) for begin in range(0, channels, step)]


def _pieces_forward(matrices: list[SamplingMatrix], features: Sequence[Tensor]) -> Tensor:
    """(N, C, bins) from maps of any type and layout, in their type; channels last if they are."""
    (matrix,) = matrices
    first = features[0]
    channels = first.shape[1]
    exact = torch.float64 if first.dtype == torch.float64 else torch.float32
    out = first.new_empty(len(matrix.rois), channels, matrix.bins)
    if memory_format(features) == torch.channels_last:
        out = first.new_empty(len(matrix.rois), matrix.bins, channels).transpose(1, 2)
    if len(matrix.rois) == 0:
        return out
    order = torch.from_numpy(matrix.rois)

    def sample(piece: slice) -> None:
        table = torch.empty(matrix.pixels, piece.stop - piece.start, dtype=exact)
        for rows, image in _rows_of_images(table, features):
            _planes_to_rows(image[piece], rows)
        values = _product(matrix.indices, matrix.offsets, matrix.weights, table)
        values = _alive(values, matrix).swapaxes(1, 2)
        if out.dtype == exact:
            out.numpy()[matrix.rois, piece] = values
        else:
            out[order, piece] = torch.from_numpy(values).to(out.dtype)

    for_each(sample, _channel_pieces(matrix.pixels, channels, exact))
    return out


def _pieces_backward(matrix: SamplingMatrix, grad: Tensor, grads: Sequence[Tensor]) -> None:
    """Write the gradients of all levels into ``grads``."""
    if len(matrix.rois) == 0:
        for level in grads:
            level.zero_()
        return
    exact = torch.float64 if grad.dtype == torch.float64 else torch.float32
    count, channels = grad.shape[:2]
    grad = grad.flatten(2)
    transposed = matrix.transposed()

    def scatter(piece: slice) -> None:
        rows = torch.empty(count, matrix.bins, piece.stop - piece.start, dtype=exact)
        if grad.dtype == exact:
            np.copyto(rows.numpy(), grad[:, piece].numpy().swapaxes(1, 2))
        else:
            rows.copy_(grad[:, piece].transpose(1, 2))
        rows = _without_dead(rows.flatten(0, 1), [matrix], copy=False)
        table = torch.from_numpy(_product(*transposed, rows))
        for image_rows, image in _rows_of_images(table, grads):
            _rows_to_planes(image_rows, image[piece])

    for_each(scatter, _channel_pieces(matrix.pixels, channels, exact))


def _rows_of_images(table: Tensor, features: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of an image's rows in the table (pixels, c) and its (C, H, W), level by level."""
    begin = 0
    for feature in features:
        pixels = feature.shape[2] * feature.shape[3]
        for image in feature.detach():
            yield table[begin : begin + pixels], image
            begin += pixels


def _planes_to_rows(planes: Tensor, rows: Tensor) -> None:
    """Copy (c, H, W) into (H * W, c), converting the type."""
    planes = planes.to(rows.dtype)
    if planes[0].is_contiguous():
        cv2.transpose(planes.flatten(1).numpy(), rows.numpy())
    else:
        np.copyto(rows.view(*planes.shape[1:], -1).numpy(), planes.permute(1, 2, 0).numpy())


def _rows_to_planes(rows: Tensor, planes: Tensor) -> None:
    """Copy (H * W, c) into (c, H, W), converting the type."""
    if planes.dtype != rows.dtype:
        planes.copy_(rows.view(*planes.shape[1:], -1).permute(2, 0, 1))
    elif planes[0].is_contiguous():
        cv2.transpose(rows.numpy(), planes.flatten(1).numpy())
    else:
        np.copyto(planes.permute(1, 2, 0).numpy(), rows.view(*planes.shape[1:], -1).numpy())
