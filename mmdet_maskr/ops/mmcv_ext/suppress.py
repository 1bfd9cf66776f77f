"""NMS, Soft-NMS and NMS by groups: the same boxes in the same order as MMCV's C++.

Symbols: N boxes, in any order; scores decide which is better.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmdet_maskr.ops._suppression import kept_on_device, overlaps, suppressed_rows
from mmdet_maskr.ops.mmcv_ext import torchvision
from mmdet_maskr.ops.mmcv_ext.elsewhere import or_on_cpu

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2  # methods of softnms


@torch.compiler.disable  # NumPy decides, from values
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that no better kept box overlaps by more than the threshold.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        iou_threshold: rounded to float32, as in MMCV.
        offset: 1 where x2 and y2 are the last pixel of a box, else 0.

    Returns:
        (K,) int64, best first.
    """
    if len(boxes) == 0:
        return torch.empty(0, dtype=torch.int64, device=boxes.device)
    iou_threshold = float(np.float32(iou_threshold))
    if not offset and torchvision.has("nms", boxes.device.type):
        return torchvision.op("nms")(boxes, scores.to(boxes.dtype), iou_threshold)
    order = scores.sort(0, descending=True).indices
    best_first = boxes.detach()[order]
    if best_first.dtype in (torch.float16, torch.bfloat16):
        best_first = best_first.float()
    if boxes.device.type == "cpu":
        kept = torch.from_numpy(~suppressed_rows(best_first.numpy(), iou_threshold, offset))
    else:
        kept = or_on_cpu("NMS", lambda b: kept_on_device(b, iou_threshold, offset), best_first)
    return order[kept]


@torch.compiler.disable
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al. 2017): overlapped boxes lose score instead of being dropped.

    Args:
        boxes: (N, 4) xyxy, on a CPU as the rest.
        scores: (N,).
        dets: (N, 5), whose first K rows get the boxes and their new scores.
        iou_threshold: from which overlap on NAIVE and LINEAR take score away.
        sigma: of GAUSSIAN's weight.
        min_score: boxes below it are dropped, but for the first one.
        method: NAIVE, LINEAR or GAUSSIAN.
        offset: as in :func:`nms`.

    Returns:
        (K,) int64 indices, in the order of the rows.
    """
    # Entries from `place` on are still to come. They are swapped as MMCV does it, so that among
    # equal scores the same one is next.
    columns = boxes.detach().numpy().T.copy()
    kind = columns.dtype.type
    score = scores.detach().numpy().astype(kind)
    index = np.arange(len(score))
    place, count = 0, len(score)
    while place < count:
        best = place + _first_largest(score[place:count])
        for row in (*columns, score, index):
            row[place], row[best] = row[best], row[place]
        rest = slice(place + 1, count)
        overlap = overlaps(columns[:, place : place + 1], columns[:, rest], offset)[0]
        score[rest] *= _weights(overlap, kind(iou_threshold), kind(sigma), method)
        count = _drop(columns, score, index, place + 1, count, kind(min_score))
        place += 1
    rows = np.concatenate([columns[:, :count].T, score[:count, None]], 1)
    dets[:count] = torch.from_numpy(rows).to(dets.dtype)
    return torch.from_numpy(index[:count].copy())


def _first_largest(score: NDArray) -> int:
    """Where C++ finds the maximum: a number that is none (of boxes without area) is no candidate.

    Only in the first place it is, as nothing compares greater.
    """
    if np.isnan(score[0]):
        return 0
    return int(np.nanargmax(score))


def _weights(overlap: NDArray, threshold: float, sigma: float, method: int) -> NDArray:
    if method == GAUSSIAN:
        return np.exp(-(overlap * overlap) / sigma)
    one = np.ones_like(overlap)
    left = np.zeros_like(overlap) if method == NAIVE else 1 - overlap
    return np.where(overlap >= threshold, left, one)


def _drop(
    columns: NDArray, score: NDArray, index: NDArray, begin: int, count: int, min_score: float
) -> int:
    """Fill the places of boxes below ``min_score`` with the last ones; return how many are left."""
    low = score[begin:count] < min_score
    if not low.any():
        return count
    order = list(range(begin, count))
    place, end = 0, len(order)
    while place < end:
        if score[order[place]] < min_score:
            order[place] = order[end - 1]
            end -= 1
        else:
            place += 1
    for row in (*columns, score, index):
        row[begin : begin + end] = row[order[:end]]
    return begin + end


@torch.compiler.disable
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Each kept box with the boxes that it suppresses.

    Args:
        dets: (N, 5) xyxy and score, on a CPU.
        iou_threshold: boxes that overlap a better one by as much or more go to its group.

    Returns:
        For each group its indices, best first, the kept box in front.
    """
    order = dets[:, 4].sort(0, descending=True).indices.numpy()
    columns = dets[:, :4].numpy()[order].T.copy()
    threshold = columns.dtype.type(iou_threshold)
    alive = np.ones(len(order), bool)
    groups = []
    for place in range(len(order)):
        if not alive[place]:
            continue
        rest = place + 1 + np.flatnonzero(alive[place + 1 :])
        overlap = overlaps(columns[:, place : place + 1], columns[:, rest], 0)[0]
        own = rest[overlap >= threshold]
        alive[own] = False
        groups.append([int(order[place]), *order[own].tolist()])
    return groups
