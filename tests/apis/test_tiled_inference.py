"""MaskRInferencer and exported models on tiles."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
import pytest
import torch
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "deploy"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from exported import KINDS, dataset_meta, photo, thin_model

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.deploy import load
from mmdet_maskr.deploy.export.write import export
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_rle import RLEMasks


@pytest.fixture(scope="module")
def config(repo: Path) -> Config:
    """The shapes model; everything is detected."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=6)
    return cfg


@pytest.fixture(scope="module")
def inferencer(config: Config) -> MaskRInferencer:
    """With random weights."""
    torch.manual_seed(0)
    return MaskRInferencer(config, device="cpu", show_progress=False)


@pytest.fixture(scope="module")
def mosaic(shapes_root: Path) -> np.ndarray:
    """Four images of 96 pixels, (192, 192, 3)."""
    a, b, c, d = (cv2.imread(str(path)) for path in sorted((shapes_root / "val").glob("*.png")))
    return np.vstack([np.hstack([a, b]), np.hstack([c, d])])


def test_one_tile_is_the_image(inferencer: MaskRInferencer, shapes_root: Path):
    paths = sorted((shapes_root / "val").glob("*.png"))
    plain = inferencer(paths)["predictions"]
    for expected, found in zip(plain, inferencer(paths, tile=96)["predictions"], strict=True):
        # random boxes of one class lie on one another more than those of a trained model
        assert len(found["labels"]) and found.keys() == expected.keys()
        for name in ("labels", "masks", "keypoints"):
            assert found[name] == expected[name]
        for name in ("scores", "bboxes", "keypoint_scores"):
            assert np.allclose(np.concatenate(found[name], None),
                               np.concatenate(expected[name], None))  # fmt: skip


def test_tiles_are_joined(inferencer: MaskRInferencer, mosaic: np.ndarray, tmp_path: Path):
    """What single tiles give without overlap comes back where they lie, and into every output."""
    single = [
        inferencer(mosaic[y : y + 96, x : x + 96])["predictions"][0]
        for y in (0, 96)
        for x in (0, 96)
    ]
    path = tmp_path / "mosaic.png"
    cv2.imwrite(str(path), mosaic)
    options = dict(tile=96, overlap=0, batch_size=3, return_vis=True)
    found = inferencer(path, coco_json=tmp_path / "found.json", **options)
    (lists,) = found["predictions"]
    assert 6 < len(lists["labels"]) <= sum(len(one["labels"]) for one in single)
    corners = [(0, 0), (96, 0), (0, 96), (96, 96)]
    expected = {
        tuple(np.round(np.add(box, (*corner, *corner)), 3))
        for corner, one in zip(corners, single, strict=True)
        for box in one["bboxes"]
    }
    assert {tuple(np.round(box, 3)) for box in lists["bboxes"]} & expected
    assert all(mask["size"] == [192, 192] for mask in lists["masks"])
    boxes = pycocotools.mask.toBbox(lists["masks"])
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    drawn = boxes[:, 2] > 0
    assert np.abs(corners - np.array(lists["bboxes"]))[drawn].max() < 60
    assert len(json.loads((tmp_path / "found.json").read_text())) == len(lists["labels"])
    assert found["visualization"][0].shape == (384, 384, 3)  # small images are enlarged
    (sample,) = inferencer(path, tile=96, return_datasamples=True)["predictions"]
    assert isinstance(sample.pred_instances.masks, RLEMasks)
    assert sample.pred_instances.keypoints.shape[1:] == (9, 2)
    assert sample.ori_shape == (192, 192) and sample.img_path == str(path)


def test_thresholds_and_outputs(inferencer: MaskRInferencer, mosaic: np.ndarray):
    (all_of_them,) = inferencer(mosaic, tile=96)["predictions"]
    least = float(np.median(all_of_them["scores"]))
    (some,) = inferencer(mosaic, tile=96, score_thr=least, outputs=["boxes"])["predictions"]
    assert 0 < len(some["scores"]) < len(all_of_them["scores"]) and min(some["scores"]) >= least
    assert some.keys() == {"labels", "scores", "bboxes"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(tile=31), "smaller than the model's stride of 32"),
        (dict(tile="auto"), "resizes by a factor"),
        (dict(tile=96, overlap=1.0), r"overlap=1\.0"),
        (dict(overlap=0.2), "pass tile"),
        (dict(tiles=96), "did you mean tile"),
    ],
)
def test_bad_options(inferencer: MaskRInferencer, options: dict, message: str):
    with pytest.raises(UserError, match=message):
        inferencer(np.zeros((96, 96, 3), np.uint8), **options)


def test_exported_models(tmp_path: Path):
    """The runtime joins tiles as well; 'auto' is the size that the graph's images have."""
    pytest.importorskip("onnxruntime")
    model, cfg = thin_model(KINDS["joint"])
    export(model, cfg, dataset_meta(model), tmp_path / "model", "onnx")
    runtime = load(tmp_path / "model", threads=1)
    side = min(runtime.metadata["preprocessing"]["resize"]["scale"])
    image = photo(side, side + 30)
    called: list[tuple[int, int]] = []

    def run(graph_input: np.ndarray, original: Callable = runtime.run) -> dict:
        called.append(graph_input.shape[2:])
        return original(graph_input)

    runtime.run = run
    (plain,) = runtime(image[:, :side])["predictions"]
    (found,) = runtime(image, tile="auto", overlap=0.2)["predictions"]
    assert called == [(side, side)] * 3, "the image, and two tiles at their own size"
    assert found.keys() == plain.keys() and len(found["labels"])
    assert all(mask["size"] == [side, side + 30] for mask in found["masks"])
    with pytest.raises(UserError, match="needs masks='rle'"):
        runtime(image, tile=side, masks="bitmaps")
