"""3x3 convolutions of large maps with half the multiplications (Lavin and Gray 2016), on a CPU.

Winograd's F(4, 3) along the columns: four rows of the result need six convolutions with a 1x3
kernel instead of twelve, on six sums of input rows. Nothing is transformed along the rows, so
oneDNN computes the 1x3 convolutions as fast as its 3x3 ones, and the transforms are a small part of
the work. The interpolation points 0, +-2/3, +-3/2 have the smallest rounding error: about 1.7 times
that of a direct convolution in float32. The usual points 0, +-1, +-2 have 2.4 times.

Symbols: C channels in, D channels out, G groups of four rows.
"""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

POINTS = tuple(Fraction(*p) for p in ((0, 1), (2, 3), (-2, 3), (3, 2), (-3, 2)))  # and infinity
ROWS, TAPS = 4, 6  # rows of the result, and of the input, in a group
STRIP_BYTES = 2**24  # of transformed rows that are worked on at once
LEAST_CHANNELS, LEAST_PIXELS = 256, 8192  # below, transforms cost more than they save


def suits(x: Tensor, weight: Tensor) -> bool:
    """Whether Winograd is faster for this map and kernel (D, C, 3, 3)."""
    return (
        weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and x.shape[2] * x.shape[3] >= LEAST_PIXELS
    )


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Toom-Cook matrices in float64, for the result (4, 6), kernel (6, 3) and input (6, 6).

    ``result @ ((kernel @ g) * (input @ d))`` is the correlation of d (6) with g (3). Scaled so that
    the second row of the result's matrix holds 1 and -1.
    """
    result, kernel, data = [], [], []
    for j, point in enumerate(POINTS):
        others = [p for k, p in enumerate(POINTS) if k != j]
        scale = Fraction(1)
        for other in others:
            scale *= point - other
        unit = abs(point) or Fraction(1)
        result.append([point**i / unit for i in range(ROWS)])
        kernel.append([point**i * unit / scale for i in range(3)])
        data.append([*_coefficients(others), Fraction(0)])
    result.append([Fraction(int(i == ROWS - 1)) for i in range(ROWS)])
    kernel.append([Fraction(0), Fraction(0), Fraction(1)])
    data.append(_coefficients(POINTS))
    as_tensors = (
        torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64)
        for rows in (result, kernel, data)
    )
    result, kernel, data = as_tensors
    return result.T.contiguous(), kernel, data


def _coefficients(roots: tuple[Fraction, ...] | list[Fraction]) -> list[Fraction]:
    """Of the polynomial with these roots, lowest degree first."""
    polynomial = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *polynomial]
        polynomial = [
            a - root * b for a, b in zip(shifted, [*polynomial, Fraction(0)], strict=True)
        ]
    return polynomial


class WinogradConvolution:
    """A 3x3 convolution of stride 1 and padding 1, in float32, on a CPU.

    Args:
        weight: (D, C, 3, 3).
        bias: (D,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        result, kernel, data = transforms()
        kernels = torch.einsum("jk,dckx->jdcx", kernel, weight.double())[:, :, :, None]
        # a constant of all rows of the result, as constants of the products
        constants = torch.linalg.pinv(result).sum(1)
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        self.biases = [(constant * bias.double()).to(weight.dtype) for constant in constants]
        self.kernels = kernels.to(weight.dtype)
        self.data = data.to(weight.dtype)
        self.inner, self.outer = float(POINTS[1]), float(POINTS[3])
        self.packed: list[Tensor] = []

    def __call__(self, x: Tensor, relu: bool) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W), channels_last."""
        batch, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).contiguous()
        out = rows.new_empty(batch, height, width, len(self.biases[0]))
        groups = -(-height // ROWS)
        step = max(1, STRIP_BYTES // (TAPS * width * channels * x.element_size()))
        if not self.packed:
            self.packed = [
                self._pack(kernel, (1, channels, step, width)) for kernel in self.kernels
            ]
        for image, target in zip(rows, out, strict=True):
            for first in range(0, groups, step):
                count = min(step, groups - first)
                begin, end = first * ROWS, (first + count) * ROWS
                strip = image[max(begin - 1, 0) : end + 1]
                above, below = int(begin == 0), max(0, end + 1 - height)
                if above or below:
                    strip = F.pad(strip, (0, 0, 0, 0, above, below))
                target_rows = target[begin:end]
                result = target_rows
                if below > 1:  # the last group reaches beyond the map
                    result = rows.new_empty(count * ROWS, *target.shape[1:])
                self._convolve(strip, result.unflatten(0, (count, ROWS)))
                if relu:
                    result.relu_()
                if result is not target_rows:
                    target_rows.copy_(result[: len(target_rows)])
        return out.permute(0, 3, 1, 2)

    def _convolve(self, strip: Tensor, result: Tensor) -> None:
        """From rows (4 G + 2, W, C), padded, to ``result`` (G, 4, W, D)."""
        count, (_, width, channels) = len(result), strip.shape
        row = width * channels
        overlapping = strip.as_strided((count, TAPS, row), (ROWS * row, row, 1))
        sums = strip.new_empty(TAPS, count, row)
        torch.bmm(self.data.expand(count, -1, -1), overlapping, out=sums.transpose(0, 1))
        m = [
            _convolve_rows(part.view(count, width, channels), kernel, bias)
            for part, kernel, bias in zip(sums, self.packed, self.biases, strict=True)
        ]
        even_in, odd_in = m[1] + m[2], m[1].sub_(m[2])
        even_out, odd_out = m[3] + m[4], m[3].sub_(m[4])
        y = result.unbind(1)
        torch.add(m[0], even_in, alpha=1 / self.inner, out=y[0]).add_(
            even_out, alpha=1 / self.outer
        )
        torch.add(odd_in, odd_out, out=y[1])
        torch.mul(even_in, self.inner, out=y[2]).add_(even_out, alpha=self.outer)
        torch.add(m[5], odd_in, alpha=self.inner**2, out=y[3]).add_(odd_out, alpha=self.outer**2)

    @staticmethod
    def _pack(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._reorder_convolution_weight(
            kernel, (0, 1), (1, 1), (1, 1), 1, list(shape)
        )


def _convolve_rows(rows: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """(G, W, C) by a packed 1x3 kernel to (G, W, D)."""
    image = rows.permute(2, 0, 1)[None]
    out = torch.ops.mkldnn._convolution_pointwise(
        image, kernel, bias, (0, 1), (1, 1), (1, 1), 1, "none", [], ""
    )
    return out[0].permute(1, 2, 0)
