"""RLEs straight from probabilities are those of paste and encode."""

from __future__ import annotations

import pickle

import numpy as np
import pycocotools.mask
import pytest
import torch
from mask_cases import HEIGHT, WIDTH, paste_as_mmdet, random_boxes, random_masks
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_rle import RLEMasks, encode_masks
from mmdet_maskr.run_lengths import compress


def encode_as_mmdet(masks, boxes, height, width, threshold=0.5) -> list[dict]:
    return encode_mask_results(paste_as_mmdet(masks, boxes, height, width, threshold).numpy())


@pytest.mark.parametrize(("count", "size"), [(1000, 28), (124, 14), (124, 56)])
def test_equals_paste_and_encode(count: int, size: int):
    masks, boxes = random_masks(count, size), random_boxes(count)
    expected = encode_as_mmdet(masks, boxes, HEIGHT, WIDTH)
    ours = encode_masks(masks, boxes, HEIGHT, WIDTH)
    assert list(ours) == expected
    assert ours.shape == (count, HEIGHT, WIDTH)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_other_thresholds(threshold: float):
    masks, boxes = random_masks(124, 28), random_boxes(124)
    expected = encode_as_mmdet(masks, boxes, HEIGHT, WIDTH, threshold)
    assert list(encode_masks(masks, boxes, HEIGHT, WIDTH, threshold)) == expected


def test_runs_that_go_on_in_the_next_column():
    """Masks over the full height of the image join where a column ends and the next begins."""
    boxes = torch.tensor([[-5.0, -5, 25, 25], [2, -9, 7, 29], [0, 0, 20, 20], [15, -9, 40, 29]])
    masks = torch.ones(4, 28, 28)
    masks[2] = random_masks(1, 28)[0]
    assert list(encode_masks(masks, boxes, 20, 20)) == encode_as_mmdet(masks, boxes, 20, 20)
    full = encode_masks(masks[:1], boxes[:1], 20, 20)[0]
    assert pycocotools.mask.area(full) == 400


def test_compress_equals_pycocotools():
    rng = np.random.default_rng(0)
    counts = [rng.integers(0, 10 ** rng.integers(1, 9), rng.integers(1, 40)) for _ in range(200)]
    for ours, runs in zip(compress(counts), counts, strict=True):
        rle = dict(size=[1, int(runs.sum())], counts=runs.tolist())
        assert ours == pycocotools.mask.frPyObjects(rle, *rle["size"])["counts"]


def test_no_masks():
    rles = encode_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), 5, 7)
    assert isinstance(rles, RLEMasks) and len(rles) == 0
    assert rles.numpy().shape == (0, 5, 7) and rles.astype(bool).dtype == bool


def test_grey_masks_are_refused():
    with pytest.raises(UserError, match=r"mask_thr_binary=-1 .*mask_output='dense'"):
        encode_masks(torch.rand(1, 28, 28), torch.ones(1, 4), 5, 7, -1)


def test_rle_masks_in_instance_data():
    """They survive every way of indexing, pickling, and become arrays where one is wanted."""
    masks, boxes = random_masks(6, 28), random_boxes(6)
    dense = paste_as_mmdet(masks, boxes, HEIGHT, WIDTH).numpy()
    data = InstanceData(scores=torch.arange(6.0), masks=encode_masks(masks, boxes, HEIGHT, WIDTH))
    for item in (torch.arange(6) > 3, torch.tensor([4, 1]), slice(1, 4), 2, [0, 5]):
        chosen = data[item].masks
        index = slice(item, item + 1) if isinstance(item, int) else item
        assert isinstance(chosen, RLEMasks)
        assert np.array_equal(chosen.astype(bool), dense[index])
    empty = data[torch.zeros(6, dtype=torch.bool)].masks
    assert empty.numpy().shape == (0, HEIGHT, WIDTH)
    again = pickle.loads(pickle.dumps(data.masks))
    assert again.rles == data.masks.rles and again.size == (HEIGHT, WIDTH)
    assert len(InstanceData.cat([data, data[:2]]).masks) == 8
    assert repr(data.masks) == f"RLEMasks(6 masks of {HEIGHT} x {WIDTH})"
