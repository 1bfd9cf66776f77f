"""Ground truths in parts are matched as mmdet's MaxIoUAssigner matches them at once."""

from __future__ import annotations

import itertools

import pytest
import torch
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmengine.structures import InstanceData

from mmdet_maskr.models.task_modules import matching


def boxes(count: int, side: float = 12) -> torch.Tensor:
    """(count, 4) whose corners are whole numbers, so that many overlap equally."""
    low = torch.randint(0, 40, (count, 2)).float()
    return torch.cat([low, low + torch.randint(2, int(side), (count, 2))], 1)


@pytest.mark.parametrize(
    ("low_quality", "all_of_them", "wrt_candidates"),
    list(itertools.product([True, False], repeat=3)),
)
@pytest.mark.parametrize("neg_iou_thr", [0.3, (0.1, 0.3)])
@pytest.mark.parametrize("part", [1, 700, 10**9])
def test_as_mmdet(
    low_quality: bool,
    all_of_them: bool,
    wrt_candidates: bool,
    neg_iou_thr: float,
    part: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(matching, "MOST_ON_CPU", 0)
    monkeypatch.setattr(matching, "PART", part)
    assigner = MaxIoUAssigner(
        0.6, neg_iou_thr, min_pos_iou=0.2, match_low_quality=low_quality,
        gt_max_assign_all=all_of_them, ignore_iof_thr=0.5, ignore_wrt_candidates=wrt_candidates,
    )  # fmt: skip
    truths = InstanceData(bboxes=boxes(37), labels=torch.randint(0, 5, (37,)))
    for ignored in (None, InstanceData(bboxes=boxes(6, 20)), InstanceData(bboxes=boxes(0))):
        proposals = InstanceData(priors=torch.cat([boxes(200), truths.bboxes[::3]]))
        expected = assigner.assign(proposals, truths, ignored)
        found = matching.assign(assigner, proposals, truths, ignored)
        assert found.num_gts == expected.num_gts
        assert torch.equal(found.gt_inds, expected.gt_inds)
        assert torch.equal(found.max_overlaps, expected.max_overlaps)
        assert torch.equal(found.labels, expected.labels)
        assert (found.gt_inds > 0).any() and (found.gt_inds == 0).any()


def test_together_and_in_parts(monkeypatch: pytest.MonkeyPatch):
    """An image of too many for :func:`match` is taken in parts there as well."""
    assigner = MaxIoUAssigner(0.6, 0.3, min_pos_iou=0.2, ignore_iof_thr=0.5)
    anchors, truths = boxes(150), [boxes(20), boxes(31)]
    ignored, counts = [boxes(3, 20), None], [None, torch.rand(150) < 0.8]
    expected = matching.match(assigner, anchors, truths, ignored, counts)
    monkeypatch.setattr(matching, "MOST_OVERLAPS", 20)
    monkeypatch.setattr(matching, "PART", 500)
    assert torch.equal(matching.match(assigner, anchors, truths, ignored, counts), expected)


def test_others_are_asked_themselves(monkeypatch: pytest.MonkeyPatch):
    """As a subclass may decide otherwise."""
    monkeypatch.setattr(matching, "MOST_ON_CPU", 0)

    class Own(MaxIoUAssigner):
        def assign(self, *args, **kwargs):
            return "own"

    proposals, truths = InstanceData(priors=boxes(9)), InstanceData(bboxes=boxes(2))
    assert matching.assign(Own(0.6, 0.3), proposals, truths) == "own"
