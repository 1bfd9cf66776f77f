"""COCO's run-length encoding, with NumPy alone: of a mask that is known as a crop; and back.

pycocotools scans all pixels of the image. Here the runs are read off the crop.

Symbols: H x W the image, h x w a crop of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def changes(columns: np.ndarray, x0: int, y0: int, height: int) -> np.ndarray:
    """Where the mask begins and ends, alternating, counted down the columns of the whole image.

    Args:
        columns: (w, h) bool, the crop whose first pixel is (x0, y0).
        x0: column of the image.
        y0: row of the image.
        height: H.

    Returns:
        (C,) integers, rising: pixels of the image, column by column, at which a run begins.
    """
    width, crop_height = columns.shape
    framed = np.zeros((width, crop_height + 2), np.bool_)  # no run goes on in the next column
    framed[:, 1:-1] = columns
    flat = framed.ravel()
    found = np.flatnonzero(flat[1:] != flat[:-1])
    column, row = np.divmod(found, crop_height + 2)
    positions = (x0 + column) * height + (y0 + row)
    if crop_height == height:  # here one can: a run to the bottom, and one from the top
        joined = np.flatnonzero(positions[1:] == positions[:-1])
        positions = np.delete(positions, np.concatenate([joined, joined + 1]))
    return positions


def _counts(positions: np.ndarray, total: int) -> np.ndarray:
    """Lengths of the runs, outside first, of a mask of ``total`` pixels."""
    inside = len(positions) and positions[-1] == total
    ends = positions if inside else np.append(positions, total)
    return np.diff(ends, prepend=0)


def rles(found: Sequence[np.ndarray], size: tuple[int, int]) -> list[dict]:
    """COCO's RLEs, ``size`` and ``counts`` (bytes), of masks whose :func:`changes` are known.

    Args:
        found: for each mask its changes (C,), rising.
        size: (H, W) of the image.
    """
    total = size[0] * size[1]
    strings = compress([_counts(positions, total) for positions in found])
    return [dict(size=list(size), counts=string) for string in strings]


def compress(counts: Sequence[np.ndarray]) -> list[bytes]:
    """COCO's compressed strings of run lengths (``rleToString`` in pycocotools' maskApi.c).

    From the fourth run on, the difference to the run before the previous one is stored; each number
    in groups of five bits, low ones first, bit 6 set where another group follows, plus 48.

    Args:
        counts: for each mask the lengths of its R runs, (R,) integers.
    """
    if not counts:
        return []
    lengths = np.array([len(c) for c in counts])
    numbers = np.concatenate(counts).astype(np.int64)
    first = np.cumsum(lengths) - lengths
    place = np.arange(len(numbers)) - np.repeat(first, lengths)
    later = np.flatnonzero(place > 2)
    left = numbers.copy()
    left[later] -= numbers[later - 2]
    digits = np.zeros((len(numbers), 13), np.uint8)  # 64 bits at most
    used = np.zeros(len(numbers), np.int64)
    active = np.arange(len(numbers))
    for group in range(digits.shape[1]):
        low = left & 31
        left = left >> 5
        more = np.where(low & 16, left != -1, left != 0)
        digits[active, group] = (low | (more << 5)) + 48
        used[active] += 1
        active, left = active[more], left[more]
        if not len(active):
            break
    text = digits[np.arange(digits.shape[1]) < used[:, None]].tobytes()
    ends = np.cumsum(used)[np.cumsum(lengths) - 1]
    starts = np.concatenate([[0], ends[:-1]])
    return [text[a:b] for a, b in zip(starts, ends, strict=True)]


def decompress(text: str | bytes) -> np.ndarray | None:
    """Run lengths (R,) int64 of COCO's compressed RLE, or None where the text is none.

    Each number is base 32, six bits a character from '0' on, the sixth for "more follows", the
    highest of the last for the sign; from the third number on it is the difference to the one two
    before (pycocotools' rleFrString, which trusts its input).
    """
    if isinstance(text, str):
        try:
            text = text.encode("ascii")
        except UnicodeEncodeError:
            return None
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if len(digits) == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        return None
    last = (digits & 32) == 0
    begin = np.concatenate([[0], np.nonzero(last)[0][:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(begin, np.diff(np.append(begin, len(digits))))
    if place.max() > 6:  # more than 35 bits: no image is so large
        return None
    numbers = np.add.reduceat((digits & 31) << (5 * place), begin)
    ends = np.nonzero(last)[0]
    numbers -= np.where(digits[ends] & 16, 1 << (5 * (place[ends] + 1)), 0)
    for first in (1, 2):  # counts[i] = numbers[i] + counts[i - 2] for i > 2
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers
