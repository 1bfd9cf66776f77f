"""COCO's compressed run-length codes, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmdet_maskr.coco.index.sections import Doubt

_LONGEST = 7  # characters of a number: 35 bits, as for one code (check.geometry.decode_counts)


def total_lengths(texts: Sequence[bytes]) -> np.ndarray:
    """Pixels that each of R codes fills.

    What a code is stands in :func:`..check.geometry.decode_counts`, which reads one.

    Args:
        texts: R codes.

    Returns:
        (R,) int64.

    Raises:
        Doubt: one of them is no code, or has a run of negative length.
    """
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    if not len(texts):
        return sizes
    digits = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64) - 48
    if not sizes.all() or digits.min() < 0 or digits.max() > 63:
        raise Doubt("no run-length code")
    last = (digits & 32) == 0
    ends = np.cumsum(sizes)
    if not last[ends - 1].all():
        raise Doubt("a run-length code that is cut off")
    final = np.flatnonzero(last)  # of each number
    begin = np.concatenate([[0], final[:-1] + 1])
    lengths = final - begin + 1
    if lengths.max() > _LONGEST:
        raise Doubt("a run longer than any image")
    place = np.arange(len(digits)) - np.repeat(begin, lengths)
    numbers = np.add.reduceat((digits & 31) << (5 * place), begin)
    numbers -= np.where(digits[final] & 16, 1 << (5 * lengths), 0)
    counts = np.searchsorted(final, ends)  # numbers up to the end of each code
    counts = np.diff(counts, prepend=0)
    return _filled(numbers, counts)


def _filled(numbers: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums of the runs of each code, from its numbers, which are differences from the fourth on."""
    first = np.cumsum(counts) - counts
    place = np.arange(len(numbers)) - np.repeat(first, counts)
    runs = numbers.copy()
    for parity in (1, 2):  # run i = number i + run i - 2, for i > 2
        chosen = np.flatnonzero((place >= parity) & ((place - parity) % 2 == 0))
        if not len(chosen):
            continue
        sums = np.cumsum(numbers[chosen])
        starts = np.flatnonzero(place[chosen] == parity)
        before = np.concatenate([[0], sums])[starts]
        lengths = np.diff(np.append(starts, len(chosen)))
        runs[chosen] = sums - np.repeat(before, lengths)
    if (runs < 0).any():
        raise Doubt("a run of negative length")
    return np.add.reduceat(runs, first)
