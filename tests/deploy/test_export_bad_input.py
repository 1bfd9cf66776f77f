"""What cannot be exported or opened ends in a sentence that names it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from exported import KINDS, dataset_meta, thin_model
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from thin_configs import load as load_config
from thin_configs import thin
from torch import nn

from mmdet_maskr.deploy import load
from mmdet_maskr.deploy.export import onnx_kernels, write
from mmdet_maskr.deploy.export.graph import ExportableDetector
from mmdet_maskr.deploy.export.metadata import resize_of
from mmdet_maskr.deploy.export.write import check_format, export
from mmdet_maskr.deploy.files import METADATA, files_of
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import InstanceTTAModel


def build(name: str, **changes):
    """A thin detector, changed by ``mask_head=dict(...)`` and so on of roi_head or test_cfg."""
    from mmdet.registry import MODELS

    cfg = thin(load_config(name), Path("nowhere"))
    for key, value in changes.items():
        section = cfg.model
        *path, last = key.split("__")
        for part in path:
            section = section[part]
        section[last] = value
    return MODELS.build(cfg.model).eval()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("compositions/cascade_maskr_r50_fpn_1x.py", "roi_head CascadeRoIHead cannot be exported"),
        ("compositions/point_rend_r50_fpn_1x.py", "model PointRend cannot be exported"),
        ("maskr_swin-t_fpn_1x.py", "backbone SwinTransformer .* accepted are: ResNet"),
        ("maskr_r50-dconv-c3-c5_fpn_1x.py", "DeformConv2d.* needs mmcv's compiled ops"),
    ],
)
def test_unknown_parts(name: str, message: str):
    with pytest.raises(UserError, match=message):
        ExportableDetector(build(name), onnx_kernels)


@pytest.mark.parametrize("wrapper", ["test-time augmentation", "averaging", "distribution"])
def test_wrapped_models(wrapper: str, tmp_path: Path):
    """Their results are not those of the detector inside alone."""
    model, cfg = thin_model(KINDS["masks"])
    meta = dataset_meta(model)
    if wrapper == "averaging":
        wrapped: nn.Module = ExponentialMovingAverage(model)
    elif wrapper == "distribution":
        wrapped = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
        nn.Module.__init__(wrapped)
        wrapped.module = model
    else:
        wrapped = InstanceTTAModel(module=model)
    with pytest.raises(UserError, match=f"model {type(wrapped).__name__} cannot be exported"):
        export(wrapped, cfg, meta, tmp_path, "torchscript")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("test_cfg__rcnn__nms", dict(type="soft_nms", iou_threshold=0.5), "rcnn.nms=.*soft_nms"),
        ("test_cfg__rpn__nms", dict(type="nms"), "rpn.nms"),
        ("test_cfg__rcnn__max_per_img", -1, "rcnn.max_per_img must be positive"),
        ("test_cfg__rcnn__convention", "torchvision", "rcnn.convention='torchvision'"),
    ],
)
def test_options(option: str, value: object, message: str):
    with pytest.raises(UserError, match=message):
        ExportableDetector(build(KINDS["masks"], **{option: value}), onnx_kernels)


@pytest.mark.parametrize("layer", ["RoIPool", "RoIWarp"])
def test_other_roi_layers(layer: str):
    change = {"roi_head__bbox_roi_extractor__roi_layer": dict(type=layer, output_size=7)}
    with pytest.raises(UserError, match=f"bbox_roi_extractor.roi_layer {layer} cannot be"):
        ExportableDetector(build(KINDS["masks"], **change), onnx_kernels)


def test_formats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(UserError, match="onnx, torchscript, openvino, not 'tflite'"):
        check_format("tflite")
    with pytest.raises(UserError, match="--opset must be 16 to 20, not 11"):
        check_format("torchscript", opset=11)
    find_spec = importlib.util.find_spec
    for form, missing in (("onnx", "onnxruntime"), ("onnx", "onnx"), ("openvino", "onnx")):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda n, missing=missing: None if n == missing else find_spec(n),
        )
        with pytest.raises(UserError, match=rf"{form} needs .*{missing}.*pip install .*{missing}"):
            check_format(form)
    model, cfg = thin_model(KINDS["masks"])
    with pytest.raises(UserError, match="--int8 needs --format openvino"):
        export(model, cfg, dataset_meta(model), tmp_path, "torchscript", calibration=[])


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ([dict(type="Pad", size=(64, 64))], "pipeline's Pad cannot be exported"),
        ([dict(type="Resize", scale=(8, 8))] * 2, "resizes twice"),
        ([dict(type="Resize", scale=(8, 8), interpolation="area")], "interpolation='area'"),
        ([dict(type="SourceResize", scale=(8, 8), convention="torchvision")], "'torchvision'"),
    ],
)
def test_pipelines(pipeline: list[dict], message: str):
    with pytest.raises(UserError, match=message):
        resize_of([dict(type="LoadImageFromFile"), *pipeline])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an exported model."""
    folder = tmp_path_factory.mktemp("exported")
    model, cfg = thin_model(KINDS["boxes"])
    export(model, cfg, dataset_meta(model), folder, "torchscript")
    return folder


def test_folders(exported: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"has no exported model \(metadata.json is missing\)"):
        load(tmp_path)
    (tmp_path / METADATA).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        load(tmp_path)
    metadata = json.loads((exported / METADATA).read_text())
    (tmp_path / METADATA).write_text(json.dumps({**metadata, "version": 99}))
    with pytest.raises(UserError, match="of version 99"):
        load(tmp_path)
    (tmp_path / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=r"model.pt is missing"):
        load(tmp_path)


def test_damaged_files_are_refused(exported: Path, tmp_path: Path):
    """A bit of the model, a number of the metadata, files of two exports."""
    shutil.copytree(exported, tmp_path / "model")
    folder = tmp_path / "model"
    load(folder)
    for name, at in (("model.pt", 5000), (METADATA, -30), (METADATA, 30)):
        whole = (folder / name).read_bytes()
        flipped = bytearray(whole)
        flipped[at] ^= 1
        (folder / name).write_bytes(flipped)
        with pytest.raises(UserError, match=name):
            load(folder)
        (folder / name).write_bytes(whole)
    load(folder)


def test_failed_export_leaves_the_model(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An export that is killed or fails while it writes changes nothing."""
    shutil.copytree(exported, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    model, cfg = thin_model(KINDS["boxes"])

    def fails(detector: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "_write_torchscript", fails)
    with pytest.raises(KeyboardInterrupt):
        export(model, cfg, dataset_meta(model), tmp_path / "model", "torchscript")
    after = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    assert after == before


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_missing_library(
    form: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = dict(onnx="onnxruntime", openvino="openvino")[form]
    metadata = json.loads((exported / METADATA).read_text())
    del metadata["sha256"], metadata["checksum"]  # as versions before wrote it
    (tmp_path / METADATA).write_text(json.dumps({**metadata, "format": form}))
    for name in files_of(form):
        (tmp_path / name).write_text("")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs {package}, which is not.*pip install {package}"):
        load(tmp_path)


def test_calls(exported: Path, tmp_path: Path):
    with pytest.raises(UserError, match="threads must be positive"):
        load(exported, threads=0)
    with pytest.raises(UserError, match="device='nothing'"):
        load(exported, device="nothing")
    model = load(exported)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.jpg").write_bytes(b"")
    for inputs, message in (
        (tmp_path / "none.jpg", "there is no image .*none.jpg"),
        (tmp_path / "empty", "no images in the folder"),
        (tmp_path / "text.jpg", "OpenCV cannot read it as an image"),
        (tmp_path / "cut.jpg", "OpenCV cannot read it as an image"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
    ):
        with pytest.raises(UserError, match=message):
            model(inputs)
    with pytest.raises(UserError, match=r"masks must be one of \('rle', 'bitmaps'\)"):
        model(np.zeros((8, 8, 3), np.uint8), masks="polygons")
