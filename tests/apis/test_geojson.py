"""GeoJSON of detections lies where the pixels of a GeoTIFF lie."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from forked import run_tool
from mmdet.registry import MODELS
from mmengine.config import Config
from pycocotools.mask import encode

from mmdet_maskr.apis.geojson import write_geojson
from mmdet_maskr.datasets import shapes
from mmdet_maskr.errors import UserError

rasterio = pytest.importorskip("rasterio")
HEIGHT, WIDTH, PIXEL, LEFT, TOP = 60, 80, 0.5, 400_000.0, 5_800_000.0


def geotiff(path: Path, image: np.ndarray, **options) -> Path:
    """A TIFF of (H, W, 3) in UTM zone 33, of half a meter a pixel."""
    transform = rasterio.transform.from_origin(LEFT, TOP, PIXEL, PIXEL)
    profile = dict(
        driver="GTiff", height=image.shape[0], width=image.shape[1], count=3, dtype="uint8",
        crs="EPSG:32633", transform=transform,
    )  # fmt: skip
    with rasterio.open(path, "w", **{**profile, **options}) as file:
        file.write(image.transpose(2, 0, 1))
    return path


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    return geotiff(tmp_path / "field.tif", np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def lists_of(masks: np.ndarray) -> dict:
    rles = [encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    return dict(
        labels=[i % 2 for i in range(len(masks))], scores=[0.5] * len(masks),
        bboxes=[[10.0, 20.0, 30.5, 40.0]] * len(masks),
        masks=[dict(rle, counts=rle["counts"].decode()) for rle in rles],
    )  # fmt: skip


def test_masks_drawn_again_are_the_masks(tiff: Path, tmp_path: Path):
    """With a hole, in two parts, at the image's corner, all over it; an empty one is left out."""
    masks = np.zeros((5, HEIGHT, WIDTH), bool)
    masks[0, 20:40, 10:31], masks[0, 25:30, 15:20] = True, False
    masks[1, 5:9, 70:75] = masks[1, 30:50, 2:5] = True
    masks[2, 50:, 77:] = True
    masks[3] = True
    write_geojson(tmp_path / "a.geojson", tiff, lists_of(masks), ("tree", "house"))
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    assert [f["properties"] for f in content["features"]] == [
        {"class": name, "score": 0.5} for name in ("tree", "house", "tree", "house")
    ]
    kinds = [feature["geometry"]["type"] for feature in content["features"]]
    assert kinds == ["Polygon", "MultiPolygon", "Polygon", "Polygon"]
    assert len(content["features"][0]["geometry"]["coordinates"]) == 2  # with its hole
    with rasterio.open(tiff) as file:
        for mask, feature in zip(masks, content["features"], strict=False):
            drawn = rasterio.features.rasterize(
                [feature["geometry"]], (HEIGHT, WIDTH), transform=file.transform
            )
            assert (drawn == mask).all()


def test_boxes_where_there_are_no_masks(tiff: Path, tmp_path: Path):
    lists = lists_of(np.ones((1, HEIGHT, WIDTH), bool))
    del lists["masks"]
    write_geojson(tmp_path / "a.geojson", tiff, lists, ("tree", "house"))
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    (ring,) = feature["geometry"]["coordinates"]
    x, y = np.transpose(ring)
    assert (x.min(), x.max()) == (LEFT + 10 * PIXEL, LEFT + 30.5 * PIXEL)
    assert (y.min(), y.max()) == (TOP - 40 * PIXEL, TOP - 20 * PIXEL)


def test_images_without_a_place(tmp_path: Path):
    nothing = dict(labels=[], scores=[], bboxes=[])
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="has no coordinate system"):
        write_geojson(tmp_path / "a.geojson", tmp_path / "photo.png", nothing, ())
    with pytest.raises(UserError, match="coordinates cannot be read"):
        write_geojson(tmp_path / "a.geojson", tmp_path / "none.tif", nothing, ())
    own = "+proj=tmerc +lat_0=11.3 +lon_0=12.7 +k=0.97 +x_0=1 +ellps=bessel"
    strange = geotiff(tmp_path / "own.tif", np.zeros((8, 8, 3), np.uint8), crs=own)
    with pytest.raises(UserError, match="no EPSG code"):
        write_geojson(tmp_path / "a.geojson", strange, nothing, ())
    assert not (tmp_path / "a.geojson").exists()


def test_on_the_command_line(repo: Path, tmp_path: Path, shapes_root: Path):
    cfg = Config.fromfile(repo / "configs" / "mini" / "ablation_fpn.py")
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=3, mask_thr_binary=0.0)
    cfg.dump(tmp_path / "config.py")
    torch.manual_seed(0)
    meta = dict(dataset_meta=dict(classes=shapes.CLASSES))
    weights = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=weights, meta=meta), tmp_path / "model.pth")
    image = cv2.imread(str(min((shapes_root / "val").glob("*.png"))))
    geotiff(tmp_path / "field.tif", image[..., ::-1])
    command = [
        tmp_path / "field.tif", "--weights", tmp_path / "model.pth", "--config",
        tmp_path / "config.py", "--score-thr", "0", "--tile", "64", "--geojson",
        "--out-dir", tmp_path / "out", "--no-save-vis",
    ]  # fmt: skip
    code, out = run_tool(repo / "maskr.py", ["predict", *command])
    assert code == 0 and "geojson" in out, out
    content = json.loads((tmp_path / "out" / "geojson" / "field.geojson").read_text())
    found = json.loads((tmp_path / "out" / "preds" / "field.json").read_text())
    assert len(content["features"]) == len(found["labels"]) > 0
    side = len(image) * PIXEL
    for feature in content["features"]:
        parts = feature["geometry"]["coordinates"]
        parts = [parts] if feature["geometry"]["type"] == "Polygon" else parts
        points = np.concatenate([np.array(ring) for part in parts for ring in part])
        assert (points >= (LEFT, TOP - side)).all() and (points <= (LEFT + side, TOP)).all()
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    code, out = run_tool(repo / "maskr.py", ["predict", tmp_path / "photo.png", *command[1:]])
    assert code == 2 and "has no coordinate system" in out
