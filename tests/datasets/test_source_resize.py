"""Resizing with the pixels and sizes of Detectron2 and torchvision."""

from __future__ import annotations

import mmcv
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from PIL import Image

from mmdet_maskr.conventions import Detectron2, Torchvision
from mmdet_maskr.datasets.transforms.resize import SourceResize
from mmdet_maskr.errors import UserError
from mmdet_maskr.image_sizes import CODEBASES, resized_shape


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "detectron2", "torchvision"),
    [
        (480, 640, (800, 1067), (800, 1066)),  # 1066.67: rounded to the nearest, and down
        (640, 480, (1067, 800), (1066, 800)),
        (427, 640, (800, 1199), (800, 1199)),
        (300, 1000, (400, 1333), (399, 1333)),  # the longest side decides: 399.9
        (800, 800, (800, 800), (800, 800)),
    ],
)
def test_sizes(height: int, width: int, detectron2: tuple, torchvision: tuple):
    assert Detectron2().resized_shape(height, width, (1333, 800)) == detectron2
    assert Torchvision().resized_shape(height, width, (800, 1333)) == torchvision
    factor = min(800 / min(height, width), 1333 / max(height, width))
    resized = F.interpolate(
        torch.zeros(1, 1, height, width), scale_factor=factor, recompute_scale_factor=True
    )
    assert resized.shape[2:] == torchvision


def test_sizes_of_mmdet():
    """Those of mmcv, also where a side would vanish; Detectron2's and torchvision's never do."""
    rng = np.random.default_rng(0)
    for height, width in rng.integers(1, 2000, (200, 2)).tolist():
        scale = tuple(rng.integers(30, 1500, 2).tolist())
        expected = mmcv.rescale_size((width, height), scale)[::-1]
        assert resized_shape(height, width, scale, "mmdet") == tuple(max(1, s) for s in expected)
    for codebase in CODEBASES:
        assert resized_shape(1, 9000, (1333, 800), codebase) == (1, 1333)


def test_detectron2_resizes_with_pil():
    source = image(50, 70)
    results = SourceResize((40, 30), "detectron2").transform(dict(img=source))
    expected = np.asarray(Image.fromarray(source).resize((40, 29), Image.Resampling.BILINEAR))
    assert results["img"].dtype == np.uint8
    assert np.array_equal(results["img"], expected)
    assert results["scale_factor"] == (40 / 70, 29 / 50)


def test_torchvision_samples_without_antialiasing():
    """Half the size: the mean of 2 x 2 pixels, unrounded; larger: weights of a quarter."""
    source = image(8, 12)
    results = SourceResize((6, 4), "torchvision").transform(dict(img=source))
    blocks = source.reshape(4, 2, 6, 2, 3).astype(np.float32).mean((1, 3))
    assert results["img"].dtype == np.float32
    np.testing.assert_allclose(results["img"], blocks, rtol=1e-6)
    third = SourceResize((3, 2), "torchvision").transform(dict(img=source))["img"]
    inner = source.astype(np.float32)[1::4][:, 1::4] + source[2::4][:, 1::4]
    inner = (inner + source[1::4][:, 2::4] + source[2::4][:, 2::4]) / 4
    np.testing.assert_allclose(third, inner, rtol=1e-6)  # the two middle pixels of each four


@pytest.mark.parametrize("convention", ["detectron2", "torchvision"])
@pytest.mark.parametrize("kind", ["bitmap", "polygon"])
def test_boxes_and_masks_follow(convention: str, kind: str):
    square = np.array([10.0, 10, 40, 10, 40, 30, 10, 30])
    if kind == "bitmap":
        bitmap = np.zeros((1, 50, 70), np.uint8)
        bitmap[0, 10:30, 10:40] = 1
        masks = BitmapMasks(bitmap, 50, 70)
    else:
        masks = PolygonMasks([[square]], 50, 70)
    results = dict(
        img=image(50, 70), gt_bboxes=HorizontalBoxes([[10.0, 10, 40, 30]]), gt_masks=masks
    )
    transform = TRANSFORMS.build(dict(type="SourceResize", scale=(105, 100), convention=convention))
    results = transform(results)
    assert (results["gt_masks"].height, results["gt_masks"].width) == (75, 105)
    torch.testing.assert_close(
        results["gt_bboxes"].tensor, torch.tensor([[15.0, 15, 60, 45]]), rtol=0, atol=1e-4
    )
    assert abs(float(results["gt_masks"].areas[0]) - 45 * 30) < 60


def test_bad_options():
    with pytest.raises(UserError, match="convention must be one of"):
        SourceResize((40, 30), "mmdet")
    with pytest.raises(UserError, match=r"does not take \['backend'\]"):
        SourceResize((40, 30), backend="cv2")
    with pytest.raises(UserError, match="keep_ratio=False"):
        SourceResize((40, 30), keep_ratio=False)
