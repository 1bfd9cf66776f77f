"""NMS within groups: what a direct loop keeps, in torchvision's two regimes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmdet_maskr.ops import nms


def crowd(count: int, groups: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes that overlap, in groups, with some equal scores."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 200
    sides = 20 + torch.rand(count, 2, generator=generator) * 60
    scores = (torch.rand(count, generator=generator) * 500).round() / 500
    return (
        torch.cat([corners, corners + sides], 1),
        scores,
        torch.randint(groups, (count,), generator=generator),
    )


def direct(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> list[int]:
    """Greedy NMS, one box after the other, in float64."""
    boxes = boxes.double()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    for i in scores.sort(descending=True, stable=True).indices.tolist():
        rivals = torch.tensor([j for j in kept if groups[j] == groups[i]], dtype=torch.long)
        inside = torch.minimum(boxes[rivals, 2:], boxes[i, 2:]) - torch.maximum(
            boxes[rivals, :2], boxes[i, :2]
        )
        shared = inside.clamp(min=0).prod(1)
        if not (shared / (areas[rivals] + areas[i] - shared) > threshold).any():
            kept.append(i)
    return kept


@pytest.mark.parametrize("moved", [0, 10**6], ids=["by group", "moved apart"])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_keeps_what_a_loop_keeps(monkeypatch: pytest.MonkeyPatch, moved: int, threshold: float):
    monkeypatch.setattr(nms, "MOVED_ON_CPU", moved)
    boxes, scores, groups = crowd(600, 7)
    kept = nms.grouped_nms(boxes, scores, groups, threshold)
    expected = torch.tensor(direct(boxes, scores, groups, threshold))
    assert 50 < len(expected) < 600
    assert torch.equal(kept.sort().values, expected.sort().values)
    assert torch.equal(scores[kept], scores[expected])


def test_groups_are_moved_apart_up_to_a_number():
    """The move rounds coordinates, so that it decides overlaps at the threshold: up to 1000 boxes
    torchvision moves them, from there on it does not."""
    step = 2.0**-14
    pair = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 7 + step]])  # overlap just above 0.7
    scores, groups = torch.tensor([0.9, 0.8]), torch.tensor([999, 999])
    filler = torch.tensor([[0.0, 0, 1000, 1000]])
    for count, kept in ((998, 3), (999, 2)):  # two of the pair, or one
        boxes = torch.cat([pair, filler.expand(count, 4)])
        every = torch.cat([groups, torch.zeros(count, dtype=torch.long)])
        ranks = torch.cat([scores, torch.full((count,), 0.1)])
        assert len(nms.grouped_nms(boxes, ranks, every, 0.7)) == kept


def test_no_boxes():
    empty = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)
    assert nms.grouped_nms(*empty, 0.5).shape == (0,)
