"""Pictures of a dataset show what the pipeline gives, with boxes, masks and keypoints."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from forked import run_tool
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.browse import draw_item, side_by_side


def dataset_of(repo: Path, root: Path, **options):
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    dataset = cfg.train_dataloader.dataset
    dataset.update(data_root=str(root), **options)
    dataset.pipeline[2].prob = 1.0  # always mirrored
    return DATASETS.build(dataset)


def test_what_the_training_sees(repo: Path, shapes_root: Path):
    """The mirrored image, large enough to be read; the original is its mirror image, but for
    letters and the colors of left and right."""
    dataset = dataset_of(repo, shapes_root)
    path, seen = draw_item(dataset, 3)
    same, original = draw_item(dataset, 3, "original")
    assert path == same == dataset.get_data_info(3)["img_path"]
    assert seen.shape == original.shape == (384, 384, 3)
    assert (seen != original[:, ::-1]).any(-1).mean() < 0.15
    assert (seen != original).any(-1).mean() > 0.4
    photo = cv2.imread(path)[..., ::-1]
    larger = cv2.resize(photo, (384, 384), interpolation=cv2.INTER_CUBIC)
    drawn = (original != larger).any(-1)
    assert 0.03 < drawn.mean() < 0.9


def test_keypoints_are_drawn(repo: Path, shapes_root: Path):
    dataset = dataset_of(repo, shapes_root)
    with_figure = next(
        i for i in range(len(dataset))
        if any(np.any(x["keypoints"]) for x in dataset.get_data_info(i)["instances"])
    )  # fmt: skip
    _, picture = draw_item(dataset, with_figure)
    for color in ((255, 128, 0), (0, 170, 255)):  # left and right
        assert (picture == color).all(-1).sum() > 30


def test_each_transform(repo: Path, shapes_root: Path):
    """Original and flip; packing changes nothing and has no picture."""
    dataset = dataset_of(repo, shapes_root)
    _, picture = draw_item(dataset, 0, "pipeline")
    assert picture.shape[0] == 384 + 26 and picture.shape[1] == 2 * (384 + 8)
    _, original = draw_item(dataset, 0, "original")
    assert np.array_equal(picture[26:, :384], original)
    assert np.array_equal(picture[26:, 392:776], draw_item(dataset, 0)[1])


@pytest.mark.parametrize("mode", ["transformed", "pipeline"])
def test_annotations_loaded_after_the_resize(repo: Path, shapes_root: Path, mode: str):
    """Those of a test pipeline are in pixels of the file: they are drawn where they are in it."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py").test_dataloader.dataset
    cfg.update(data_root=str(shapes_root))
    original = draw_item(DATASETS.build(cfg), 0, "original")[1][:384]  # without its legend
    assert cfg.pipeline[1].type.endswith("Resize"), "before the annotations"
    cfg.pipeline[1].scale_factor = 2.0
    dataset = DATASETS.build(cfg)
    assert np.array_equal(draw_item(dataset, 0, "original")[1][:384], original)
    picture = draw_item(dataset, 0, mode)[1]
    picture = picture[26:410, -392:-8] if mode == "pipeline" else picture[:384, :384]
    palette = np.array(dataset.metainfo["palette"])
    places = [(image[:, :, None] == palette).all(-1).any(-1) for image in (original, picture)]
    assert min(place.sum() for place in places) > 300, "boxes, contours and labels"
    near = cv2.dilate(places[0].astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    common = (near & places[1]).sum() / places[1].sum()
    assert common > 0.8


def test_wrapped_data_sets(repo: Path, shapes_root: Path):
    inner = dataset_of(repo, shapes_root)
    repeated = dict(type="RepeatDataset", times=2, dataset=inner)
    both = DATASETS.build(dict(type="ConcatDataset", datasets=[inner, repeated]))
    count = len(inner)
    for index in (1, count + 1, 2 * count + 1):
        path, _ = draw_item(both, index, "original")
        assert path == inner.get_data_info(1)["img_path"]
        assert np.array_equal(draw_item(both, index)[1], draw_item(inner, 1)[1])


def test_panels_of_different_sizes():
    panels = [("first one", np.zeros((10, 20, 3), np.uint8)), ("b", np.ones((30, 90, 3), np.uint8))]
    picture = side_by_side(panels)
    assert picture.shape[0] == 56 and picture.shape[1] > 20 + 90
    assert (picture[26:36, :20] == 0).all() and (picture[36:, :20] == 255).all()


def test_bad_mode(repo: Path, shapes_root: Path):
    with pytest.raises(UserError, match="mode='raw': it must be one of"):
        draw_item(dataset_of(repo, shapes_root), 0, "raw")


def test_the_tool(repo: Path, shapes_root: Path, tmp_path: Path):
    """Files for images spread over the dataset, and a sheet; mistakes end with a message."""
    tool = repo / "tools" / "browse_dataset.py"
    config = str(repo / "configs" / "mini" / "maskr_shapes.py")
    options = ["--data-root", str(shapes_root), "--out-dir", str(tmp_path), "--number", "3"]
    code, output = run_tool(tool, [config, *options])
    assert code == 0, output
    assert "3 of 16 images drawn" in output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000000_000001.png", "000008_000009.png", "000015_000016.png", "sheet.png"]
    code, output = run_tool(tool, ["nowhere.py"])
    assert code == 2 and "no config file nowhere.py" in output


@TRANSFORMS.register_module()
class LoadSevenBands:
    """An image of seven bands in floating point."""

    def __call__(self, results: dict) -> dict:
        image = cv2.imread(results["img_path"]).astype(np.float32)
        bands = np.concatenate([image, image, image[..., :1]], axis=2)
        return dict(results, img=bands, img_shape=bands.shape[:2], ori_shape=bands.shape[:2])


LOADERS = {
    "a gray file": dict(type="LoadImageFromFile"),
    "gray": dict(type="LoadImageFromFile", color_type="grayscale"),
    "16 bits": dict(type="LoadImageFromFile", color_type="unchanged"),
    "16 bits, gray": dict(type="LoadImageFromFile", color_type="unchanged"),
    "seven bands": dict(type="LoadSevenBands"),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_images_of_other_kinds(repo: Path, shapes_root: Path, tmp_path: Path, kind: str):
    """In each mode, as a picture in three channels that is neither black nor white."""
    for path in sorted((shapes_root / "train").glob("*.png"))[:3]:
        image = cv2.imread(str(path))
        if "16 bits" in kind:
            image = image.astype(np.uint16) * 257
        cv2.imwrite(str(tmp_path / path.name), image[..., 0] if "gray" in kind else image)
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py").train_dataloader.dataset
    cfg.update(data_root=str(shapes_root), data_prefix=dict(img=str(tmp_path)), indices=3)
    cfg.pipeline[0] = LOADERS[kind]
    dataset = DATASETS.build(cfg)
    for index in range(3):
        for mode in ("transformed", "original", "pipeline"):
            _, picture = draw_item(dataset, index, mode)
            assert picture.shape[2] == 3 and picture.dtype == np.uint8
            assert 40 < picture.mean() < 250
