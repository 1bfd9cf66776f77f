"""Numbers of the code as tensors, sent to a device once.

``tensor.new_tensor(...)`` copies at each call, and on a GPU the host waits for the copy.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_maskr.tracing import is_traced

KEPT = 1024


def constant(values: Sequence[float], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers as a tensor that is sent to a device once; not to be written to.

    Args:
        values: N numbers.
        like: any tensor, of any shape; the numbers are on its device.
        dtype: of the numbers; None for that of ``like``.

    Returns:
        (N,), the numbers in order.
    """
    dtype = like.dtype if dtype is None else dtype
    numbers = tuple(values)
    if is_traced():  # a graph has constants of its own
        return torch.tensor(numbers, dtype=dtype, device=like.device)
    return _kept(numbers, dtype, like.device)


@functools.lru_cache(maxsize=KEPT)
def _kept(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it may come into a gradient's graph later
        return torch.tensor(numbers, dtype=dtype).to(device, non_blocking=True)


def numbered(counts: Sequence[int], like: Tensor) -> Tensor:
    """Each index as often as its count says: 0, 0, 1, 1, 1 of counts 2 and 3.

    Args:
        counts: how often, of each index.
        like: any tensor, of any shape; the result is on its device.

    Returns:
        (N,) int64 with N the sum of ``counts``; not to be written to.
    """
    if is_traced():
        return _numbers(counts, like.device)
    return _kept_numbers(tuple(counts), like.device)


@functools.lru_cache(maxsize=KEPT)
def _kept_numbers(counts: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return _numbers(counts, device)


def _numbers(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.cat([torch.full((n,), i, device=device) for i, n in enumerate(counts)])


def counting(number: int, like: Tensor, dtype: torch.dtype = torch.long, step: int = 1) -> Tensor:
    """0, 1, 2, ... (or another step) as a tensor that is made on a device once.

    Args:
        number: N.
        like: any tensor, of any shape; the numbers are on its device.
        dtype: of the numbers.
        step: from each to the next.

    Returns:
        (N,), not to be written to.
    """
    if is_traced():
        return torch.arange(0, step * number, step, dtype=dtype, device=like.device)
    enough = max(1 << (number - 1).bit_length(), 1) if number > 0 else 1
    return _kept_counting(enough, dtype, like.device, step)[:number]


@functools.lru_cache(maxsize=KEPT)
def _kept_counting(number: int, dtype: torch.dtype, device: torch.device, step: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(0, step * number, step, dtype=dtype, device=device)


def forget() -> None:
    """Drop what is kept."""
    _kept_counting.cache_clear()
    _kept.cache_clear()
    _kept_numbers.cache_clear()
