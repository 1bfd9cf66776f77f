"""An exported model reads files as the pipeline does, with every option of it, or is refused."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from exported import dataset_meta, thin_model

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.deploy import images, load
from mmdet_maskr.deploy.export.metadata import load_of
from mmdet_maskr.deploy.export.write import export
from mmdet_maskr.errors import UserError

MODES = ("RGB", "L", "LA", "RGBA", "P")


def write(folder: Path, mode: str, orientation: int) -> Path:
    """A picture of 60 x 40 pixels in Pillow's ``mode``."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 60, 4), np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[274] = orientation
    path = folder / f"{mode}{orientation}.png"
    image.save(path, exif=exif)
    return path


def pipeline(**options) -> list[dict]:
    return [dict(type="LoadImageFromFile", **options), dict(type="Resize", scale=(40, 60))]


@pytest.mark.parametrize("to_float32", [False, True])
@pytest.mark.parametrize("color_type", ["color", "color_ignore_orientation"])
@pytest.mark.parametrize("backend", ["cv2", "pillow", None])
def test_pixels_of_the_pipeline(tmp_path: Path, backend, color_type: str, to_float32: bool):
    init_default_scope("mmdet")
    options = dict(to_float32=to_float32, color_type=color_type, imdecode_backend=backend)
    step = TRANSFORMS.build(dict(type="LoadImageFromFile", **options))
    for mode, orientation in itertools.product(MODES, (1, 3, 6, 8)):
        path = write(tmp_path, mode, orientation)
        expected = step(dict(img_path=str(path)))["img"]
        found = images.read_image(path, load_of(pipeline(**options)))
        assert found.dtype == expected.dtype and np.array_equal(found, expected), (
            mode,
            orientation,
        )
    array = np.zeros((4, 5, 3), np.uint8)
    given = images.read_image(array, load_of(pipeline(**options)))
    assert given.dtype == (np.float32 if to_float32 else np.uint8)
    assert json.loads(json.dumps(load_of(pipeline(**options)))) == load_of(pipeline(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(color_type="grayscale"), "color_type='grayscale'"),
        (dict(color_type="grayscale_ignore_orientation"), "color_type='grayscale_ignore"),
        (dict(color_type="unchanged"), "color_type='unchanged'"),
        (dict(imdecode_backend="turbojpeg"), "imdecode_backend='turbojpeg'"),
        (dict(imdecode_backend="tifffile"), "imdecode_backend='tifffile'"),
    ],
)
def test_options_that_the_runtime_has_not(options: dict, message: str):
    with pytest.raises(UserError, match=f"{message}.* cannot be exported"):
        load_of(pipeline(**options))


def test_too_little_memory_is_no_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def decode(*args):
        raise cv2.error("(-4:Insufficient memory) Failed to allocate 108000000 bytes")

    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(MemoryError, match="108000000"):
        images.read_image(write(tmp_path, "RGB", 1))


def test_other_pipelines():
    with pytest.raises(UserError, match="0 transforms that load an image"):
        load_of([dict(type="LoadMultiChannelImageFromFiles")])
    with pytest.raises(UserError, match="SourceResize"):
        load_of([*pipeline(to_float32=True), dict(type="SourceResize", scale=(40, 60))])
    harmless = dict(ignore_empty=True, backend_args=dict(backend="local"))
    assert load_of(pipeline(**harmless)) == load_of(pipeline()) == images.LOAD


def test_an_exported_model_sees_the_photo_as_its_pipeline_does(tmp_path: Path):
    """By EXIF the photo is upright; this pipeline, which a message of ours recommends, is not."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[274] = 6
    photo = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (60, 130, 3), np.uint8)).save(photo, exif=exif)
    model, cfg = thin_model("compositions/faster_r50_fpn_1x.py")
    cfg.test_dataloader.dataset.pipeline[0].color_type = "color_ignore_orientation"
    export(model, cfg, dataset_meta(model), tmp_path / "out", "torchscript")
    inferencer = MaskRInferencer(cfg, device="cpu", show_progress=False)
    inferencer.model = model
    model.dataset_meta = dataset_meta(model)
    expected = inferencer(str(photo))["predictions"][0]
    found = load(tmp_path / "out", threads=1)(photo)["predictions"][0]
    assert len(found["scores"]) > 5
    np.testing.assert_allclose(found["bboxes"], expected["bboxes"], atol=0.1)
    assert np.max(np.array(found["bboxes"])[:, 2]) > 61  # wider than the upright photo


def test_a_file_of_the_version_before(tmp_path: Path):
    """It says nothing of loading: files are read as they were."""
    photo = write(tmp_path, "RGB", 6)
    assert np.array_equal(images.read_image(photo), images.read_image(photo, dict(images.LOAD)))
    assert images.read_image(photo).shape == (60, 40, 3)
