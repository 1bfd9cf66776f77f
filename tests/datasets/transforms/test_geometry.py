"""Masks as geometry go through mmdet's transforms as bitmaps do."""

from __future__ import annotations

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.runner import set_random_seed
from test_masks_in_step import scene

STOCK = {
    "Resize": dict(scale=(300, 200), keep_ratio=True),
    "Resize, ratio": dict(scale=(300, 100), keep_ratio=False),
    "RandomFlip": dict(prob=1.0),
    "RandomFlip, both": dict(prob=1.0, direction="diagonal"),
    "RandomCrop": dict(crop_size=(100, 120), recompute_bbox=True),
    "MinIoURandomCrop": dict(min_crop_size=0.4),
    "Pad": dict(size=(256, 200)),
    "Expand": dict(prob=1.0, ratio_range=(1.5, 2)),
    "Rotate": dict(prob=1.0, min_mag=20.0),
    "ShearX": dict(prob=1.0, min_mag=20.0),
    "ShearY": dict(prob=1.0, min_mag=20.0),
}


@pytest.mark.parametrize("name", STOCK)
def test_as_bitmaps_in_every_transform(name: str):
    transform = TRANSFORMS.build(dict(type=name.partition(",")[0], **STOCK[name]))
    for seed in range(3):
        found = []
        for kind in (None, False):
            results = scene(kind, (0, 1, 2))
            results["mix_results"] = [scene(kind, (0, 2))]
            set_random_seed(seed)
            results = transform(results)
            found.append(results)
        if results is None:
            assert found == [None, None]
            continue
        ours, bitmaps = found
        np.testing.assert_array_equal(ours["gt_bboxes_labels"], bitmaps["gt_bboxes_labels"])
        a, b = ours["gt_masks"], bitmaps["gt_masks"]
        assert (a.height, a.width) == (b.height, b.width) == ours["img"].shape[:2]
        assert len(a) == len(b) == len(ours["gt_bboxes"])
        assert (ours["gt_bboxes"].tensor - bitmaps["gt_bboxes"].tensor).abs().max() <= 2
        for one, other in zip(a.to_ndarray() > 0, b.to_ndarray() > 0, strict=True):
            assert (one & other).sum() >= 0.93 * (one | other).sum() - 5
