"""Pasted masks are mmdet's, pixel for pixel."""

from __future__ import annotations

import pytest
import torch
from mask_cases import HEIGHT, WIDTH, paste_as_mmdet, random_boxes, random_masks
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmengine.config import ConfigDict

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_paste import paste_masks


@pytest.mark.parametrize("size", [1, 14, 28, 56])
@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.0, 1.0])
def test_equals_mmdet(size: int, threshold: float):
    masks, boxes = random_masks(124, size, seed=size), random_boxes(124, seed=size)
    expected = paste_as_mmdet(masks, boxes, HEIGHT, WIDTH, threshold)
    ours = paste_masks(masks, boxes, HEIGHT, WIDTH, threshold)
    assert ours.dtype == torch.bool and expected.any() and not expected.all()
    assert torch.equal(ours, expected)


def test_equals_mmdet_at_the_size_of_photos():
    masks, boxes = random_masks(40, 28), random_boxes(40) * 13.37
    assert torch.equal(
        paste_masks(masks, boxes, 793, 1079), paste_as_mmdet(masks, boxes, 793, 1079)
    )


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("threshold", [0.5, -1])
def test_equals_fcn_mask_head(rescale: bool, threshold: float):
    """Through mmdet's own function, gray masks (a negative threshold) too."""
    head = FCNMaskHead(num_classes=3, class_agnostic=True)
    masks = random_masks(20, 28)
    boxes = random_boxes(20)[:, [0, 1, 2, 3]].clamp(min=0, max=60)
    scale = 0.8
    meta = dict(scale_factor=(scale, scale), ori_shape=(76, 104))
    expected = head._predict_by_feat_single(
        mask_preds=masks[:, None].logit(),
        bboxes=boxes.clone(),
        labels=torch.zeros(20, dtype=torch.long),
        img_meta=meta,
        rcnn_test_cfg=ConfigDict(mask_thr_binary=threshold),
        rescale=rescale,
    )
    height, width = (76, 104) if rescale else (61, 83)
    ours = paste_masks(
        masks.logit().sigmoid(), boxes / scale if rescale else boxes, height, width, threshold
    )
    assert ours.dtype == expected.dtype and torch.equal(ours, expected)


def test_no_masks():
    for threshold, dtype in ((0.5, torch.bool), (-1, torch.uint8)):
        pasted = paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), 5, 7, threshold)
        assert pasted.shape == (0, 5, 7) and pasted.dtype == dtype


def test_bad_boxes_are_named():
    boxes = torch.tensor([[0, 0, 5, 5], [0, float("nan"), 5, 5]])
    with pytest.raises(UserError, match=r"box 1 of 2 is \[0.0, nan"):
        paste_masks(torch.rand(2, 28, 28), boxes, 10, 10)
    with pytest.raises(UserError, match=r"masks must be \(N, m, m\)"):
        paste_masks(torch.rand(2, 1, 28, 28), boxes, 10, 10)
