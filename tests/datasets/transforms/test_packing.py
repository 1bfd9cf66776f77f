"""PackInstanceInputs gives what mmdet's PackDetInputs does, of any image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import PackDetInputs
from test_masks_in_step import scene

from mmdet_maskr.datasets.transforms import PackInstanceInputs

VIEWS = {
    "whole": np.s_[:],
    "horizontal": np.s_[:, ::-1],
    "vertical": np.s_[::-1],
    "diagonal": np.s_[::-1, ::-1],
    "rgb": np.s_[..., ::-1],
    "all": np.s_[::-1, ::-1, ::-1],
    "crop": np.s_[3:30, 40:7:-1],
    "one channel": np.s_[:, ::-1, :1],
    "channels": np.s_[..., ::2],
    "every other": np.s_[::2, ::-3],
    "gray": np.s_[..., 0],
    "empty": np.s_[:0],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ["uint8", "int16", "float32", "float64", "int64", "bool"])
def test_the_image_is_mmdets(view: str, kind: str):
    rng = np.random.default_rng(0)
    image = (rng.random((41, 53, 4)) * 256 - (kind == "int16") * 90).astype(kind)[VIEWS[view]]
    before = image.copy()
    ours, stock = (
        packing().transform(dict(img=image))["inputs"]
        for packing in (PackInstanceInputs, PackDetInputs)
    )
    assert ours.dtype == stock.dtype and ours.is_contiguous()
    assert torch.equal(ours, stock)
    ours.fill_(0)
    assert np.array_equal(image, before)  # which a cache may hold


def test_all_else_is_mmdets():
    ours, stock = (
        packing().transform(dict(scene(None, (0, 1, 2)), img_id=7))
        for packing in (PackInstanceInputs, PackDetInputs)
    )
    assert list(ours) == list(stock) == ["inputs", "data_samples"]
    ours, stock = ours["data_samples"], stock["data_samples"]
    assert ours.metainfo == stock.metainfo and ours.img_id == 7
    for name in ("gt_instances", "ignored_instances"):
        assert ours.get(name).keys() == stock.get(name).keys()
    assert torch.equal(ours.gt_instances.bboxes.tensor, stock.gt_instances.bboxes.tensor)
    assert torch.equal(ours.gt_instances.labels, stock.gt_instances.labels)
    assert np.array_equal(
        ours.gt_instances.masks.to_ndarray(), stock.gt_instances.masks.to_ndarray()
    )
