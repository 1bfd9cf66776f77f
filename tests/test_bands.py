"""Images of any number of bands, with all their bits, from the file to the detections."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from forked import run_tool
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.bands import BandStatistics, encode_bands, read_bands
from mmdet_maskr.datasets import ShapesDataset, shapes
from mmdet_maskr.datasets.shapes.write import as_bands
from mmdet_maskr.datasets.transforms import LoadBands
from mmdet_maskr.deploy import load
from mmdet_maskr.deploy.export.write import export
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.backbones.inflated import inflated


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes of five bands."""
    folder = tmp_path_factory.mktemp("bands") / "shapes"
    return shapes.write_dataset(folder, images=4, val_images=2, size=96, bands=5)


@pytest.fixture(scope="module")
def config(repo: Path) -> Config:
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.model.data_preprocessor.update(
        type="BandsDataPreprocessor", mean=[8160.0] * 5, std=[3700.0] * 5, bgr_to_rgb=False
    )
    cfg.model.backbone.in_channels = 5
    for pipeline in (cfg.train_pipeline, cfg.test_dataloader.dataset.pipeline):
        pipeline[0] = dict(type="LoadBands", channels=5)
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=4)
    return cfg


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("bands", [1, 2, 5, 16])
def test_there_and_back(tmp_path: Path, dtype: type, bands: int):
    image = (np.random.rand(20, 30, bands) * 60000).astype(dtype)
    (tmp_path / "image.tif").write_bytes(encode_bands(image))
    found = read_bands(tmp_path / "image.tif")
    assert found.dtype == dtype and (found == image).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_samples_of_a_tiff(tmp_path: Path, planar: str):
    tifffile = pytest.importorskip("tifffile")
    image = np.random.randint(0, 65535, (20, 30, 5), np.uint16)
    stored = image if planar == "contig" else image.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar)
    assert (read_bands(tmp_path / "a.tif") == image).all()


def test_png_and_pyramids(tmp_path: Path):
    """Colors come in the file's order, 16 bits stay, and smaller pages are no bands."""
    image = np.random.randint(0, 65535, (20, 30, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    found = read_bands(tmp_path / "a.png")
    assert found.dtype == np.uint16 and (found == image).all()
    pages = [image[..., 0], image[::2, ::2, 0].copy()]
    (tmp_path / "a.tif").write_bytes(cv2.imencodemulti(".tif", pages)[1].tobytes())
    assert (read_bands(tmp_path / "a.tif") == image[..., :1]).all()


def test_bad_files(tmp_path: Path):
    image = np.random.rand(20, 30, 2).astype(np.float32)
    image[3, 4, 1] = np.nan
    path = tmp_path / "a.tif"
    path.write_bytes(encode_bands(image))
    with pytest.raises(UserError, match="1 of 1200 values are NaN"):
        read_bands(path)
    path.write_bytes(b"II*\0 none")
    with pytest.raises(UserError, match=r"a\.tif cannot be read"):
        read_bands(path)
    with pytest.raises(UserError, match=r"none\.tif cannot be read"):
        read_bands(tmp_path / "none.tif")
    path.write_bytes(encode_bands(np.zeros((4, 5, 3), np.uint16)))
    with pytest.raises(UserError, match="has 3 bands, but the model takes 5"):
        LoadBands(5).transform(dict(img_path=str(path)))
    for channels in (0, 17, True, "3"):
        with pytest.raises(UserError, match=r"LoadBands\.channels"):
            LoadBands(channels)


def test_shapes_of_bands(root: Path, tmp_path: Path):
    """The pictures are those of the colors, mixed; the annotations are the same."""
    plain = shapes.write_dataset(tmp_path / "plain", images=4, val_images=2, size=96)
    names = [f"annotations/instances_{split}.json" for split in shapes.SPLITS]
    for name in names:
        ours, theirs = ((folder / name).read_text() for folder in (root, plain))
        assert ours.split('"annotations"')[1] == theirs.split('"annotations"')[1]
    colors = cv2.imread(str(plain / "train" / "000001.png"))
    found = read_bands(root / "train" / "000001.tif")
    assert found.shape == (96, 96, 5) and found.dtype == np.uint16 and found.max() > 255
    assert (found == as_bands(colors, 5)).all()


def test_training_sees_all_bits(root: Path, config: Config):
    dataset = ShapesDataset(
        ann_file="annotations/instances_train.json", data_root=str(root),
        data_prefix=dict(img="train/"), pipeline=config.train_pipeline,
    )  # fmt: skip
    sample = dataset[0]
    image = read_bands(sample["data_samples"].img_path)
    inputs = sample["inputs"]
    if sample["data_samples"].flip:
        image = image[:, ::-1]
    assert inputs.dtype == torch.uint16 and (inputs.numpy() == image.transpose(2, 0, 1)).all()
    preprocessor = MODELS.build(config.model.data_preprocessor)
    batch = preprocessor(dict(inputs=[inputs], data_samples=[sample["data_samples"]]), True)
    expected = (image.transpose(2, 0, 1).astype(np.float32) - 8160) / 3700
    assert np.allclose(batch["inputs"][0], expected, atol=1e-5)


def test_augmentations_of_colors_are_refused(root: Path, config: Config):
    steps = [*config.train_pipeline[:2], dict(type="PhotoMetricDistortion")]
    with pytest.raises(UserError, match="PhotoMetricDistortion works only with three colors"):
        ShapesDataset(
            ann_file="annotations/instances_train.json", data_root=str(root),
            data_prefix=dict(img="train/"), pipeline=steps,
        )  # fmt: skip


def test_detection(root: Path, config: Config):
    """Files and arrays, whole and in tiles, with pictures."""
    torch.manual_seed(0)
    inferencer = MaskRInferencer(config, device="cpu", show_progress=False)
    path = root / "val" / "000001.tif"
    (of_file,) = inferencer(path)["predictions"]
    found = inferencer(read_bands(path), return_vis=True)
    assert found["predictions"] == [of_file] and len(of_file["labels"]) == 4
    assert found["visualization"][0].shape[2] == 3
    assert found["visualization"][0].std() > 10
    (tiles,) = inferencer(path, tile=64, overlap=0.25)["predictions"]
    assert all(mask["size"] == [96, 96] for mask in tiles["masks"])
    with pytest.raises(UserError, match="must be"):
        inferencer(np.zeros((96, 96, 3), np.uint8))


@pytest.mark.parametrize("bands", [1, 3])
def test_microscopy(repo: Path, tmp_path: Path, bands: int):
    """Gray or three bands of 16 bits: files and arrays give the same; 8 bits are refused."""
    pytest.importorskip("onnxruntime")
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes-5bands.py")
    cfg.model.data_preprocessor.update(mean=[8160.0] * bands, std=[3700.0] * bands)
    cfg.model.backbone.in_channels = bands
    cfg.test_dataloader.dataset.pipeline[0].channels = bands
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=4)
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / "model.pth")
    inferencer = MaskRInferencer(cfg, tmp_path / "model.pth", device="cpu", show_progress=False)
    model = inferencer.model
    export(model, inferencer.cfg, model.dataset_meta, tmp_path / "out", "onnx")
    exported = load(tmp_path / "out")
    image = as_bands(shapes.make_image(0, "val", 96)[0], bands)
    (tmp_path / "cells.tif").write_bytes(encode_bands(image))
    eight = (image // 64).astype(np.uint8)
    for model in (inferencer, exported):
        (of_file,) = model(tmp_path / "cells.tif")["predictions"]
        (of_array,) = model(image[..., 0] if bands == 1 else image)["predictions"]
        assert of_file == of_array and len(of_file["labels"]) == 4
        assert model(image.astype(np.float32))["predictions"] == [of_file]
        (tiles,) = model(image, tile=64, overlap=0.25)["predictions"]
        assert len(tiles["labels"])
        with pytest.raises(UserError, match=r"has 8 bits, and band 1 .* a mean of 8160"):
            model(eight)


def test_statistics_of_bands(root: Path, repo: Path, tmp_path: Path):
    """Those of all pixels at once, whatever is added when; and as a user asks for them."""
    images = [read_bands(path) for path in sorted((root / "train").glob("*.tif"))]
    pixels = np.concatenate([image.reshape(-1, 5) for image in images]).astype(np.float64)
    measured = BandStatistics()
    for image in (images[0][:10], images[0][10:], *images[1:]):
        measured.add(image, "an image")
    found = measured.described()
    for name, expected in (("mean", pixels.mean(0)), ("std", pixels.std(0)),
                           ("min", pixels.min(0)), ("max", pixels.max(0))):  # fmt: skip
        assert np.allclose(found[name], expected, atol=1e-3), name
    assert found["types"] == ["uint16"]
    with pytest.raises(UserError, match="has 3 bands, and an image has 5"):
        measured.add(images[0][..., :3], "another")
    command = [root / "annotations" / "instances_train.json", root / "train", "--bands"]
    code, out = run_tool(repo / "tools" / "check_dataset.py", command)
    assert code == 0 and "5 bands of uint16" in out, out
    line = next(line for line in out.splitlines() if line.startswith("data_preprocessor="))
    preprocessor = eval(line.removeprefix("data_preprocessor="))
    assert np.allclose(MODELS.build(preprocessor).mean.flatten(), pixels.mean(0), rtol=1e-4)
    code, out = run_tool(repo / "tools" / "check_dataset.py", [*command, "--json"])
    document, _ = json.JSONDecoder().raw_decode(out[out.index("{\n") :])
    assert document["bands"] == found
    copied = tmp_path / "train"
    shutil.copytree(root / "train", copied)
    (copied / "000002.tif").write_bytes(b"II*\0 none")
    code, out = run_tool(repo / "tools" / "check_dataset.py", [command[0], copied, "--bands"])
    assert code == 1 and "file-unreadable" in out
    code, out = run_tool(repo / "tools" / "check_dataset.py", [command[0], "--bands"])
    assert code == 2 and "pass their folder" in out


def test_from_training_to_a_runtime(root: Path, repo: Path, tmp_path: Path):
    """The config of five bands is trained, tested and exported, and the file detects the same."""
    pytest.importorskip("onnxruntime")
    config, work = repo / "configs" / "mini" / "maskr_shapes-5bands.py", tmp_path / "work"
    options = [
        "--data-root", root, "--cfg-options", "train_cfg.max_epochs=1", "train_cfg.val_interval=1",
        "train_dataloader.batch_size=2", "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False", "val_dataloader.num_workers=0",
        "val_dataloader.persistent_workers=False", "test_dataloader.num_workers=0",
        "test_dataloader.persistent_workers=False", "model.test_cfg.rcnn.score_thr=0.0",
    ]  # fmt: skip
    code, out = run_tool(repo / "tools" / "train.py", [config, "--work-dir", work, *options])
    assert code == 0 and "coco/segm_mAP" in out, out
    weights = work / "epoch_1.pth"
    command = [config, weights, "--work-dir", tmp_path / "tested", *options]
    code, out = run_tool(repo / "tools" / "test.py", command)
    assert code == 0 and "coco/keypoints_mAP" in out, out
    cfg = Config.fromfile(config)
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    cfg.dump(tmp_path / "found.py")
    folder = tmp_path / "exported"
    command = [tmp_path / "found.py", weights, folder, "--images", root / "val"]
    code, out = run_tool(repo / "tools" / "export.py", command)
    assert code == 0, out
    exported = load(folder)
    assert exported.metadata["preprocessing"]["load"] == dict(bands=5)
    inferencer = MaskRInferencer(cfg, str(weights), device="cpu", show_progress=False)
    path = root / "val" / "000001.tif"
    for image, tiles in ((path, {}), (read_bands(path), {}), (path, dict(tile=64, overlap=0.25))):
        found = exported(image, **tiles)["predictions"][0]
        expected = inferencer(image, **tiles)["predictions"][0]
        assert len(found["labels"]) and found["labels"] == expected["labels"]
        assert np.allclose(found["scores"], expected["scores"], atol=1e-4)
        assert np.allclose(found["bboxes"], expected["bboxes"], atol=0.05)
    assert found["masks"][0]["size"] == [96, 96]
    with pytest.raises(UserError, match="must be"):
        exported(np.zeros((96, 96, 3), np.uint8))
    (tmp_path / "three.tif").write_bytes(encode_bands(np.zeros((96, 96, 3), np.uint16)))
    with pytest.raises(UserError, match="has 3 bands, but the model takes 5"):
        exported(tmp_path / "three.tif")


def test_a_stem_for_more_bands(tmp_path: Path):
    """Equal bands give what equal colors gave."""
    stem = nn.Conv2d(3, 4, 3, bias=False)
    gray = torch.rand(1, 1, 9, 9)
    expected = stem(gray.expand(-1, 3, -1, -1))
    for channels in (1, 3, 6, 15):
        weight = inflated(stem.weight, channels)
        found = nn.functional.conv2d(gray.expand(-1, channels, -1, -1), weight)
        assert torch.allclose(found, expected, atol=1e-5)
    assert torch.equal(inflated(stem.weight, 5)[:, 3:], stem.weight[:, :2] * (3 / 5))
    body = dict(type="mmdet.ResNet", depth=18, base_channels=8)
    pretrained = MODELS.build(body)
    torch.save(dict(state_dict=pretrained.state_dict()), tmp_path / "body.pth")
    init = dict(type="PretrainedBands", checkpoint=str(tmp_path / "body.pth"))
    model = MODELS.build(dict(body, in_channels=5, init_cfg=init))
    model.init_weights()
    assert torch.allclose(model.conv1.weight, inflated(pretrained.conv1.weight, 5))
    assert torch.equal(model.layer3[0].conv1.weight, pretrained.layer3[0].conv1.weight)


@pytest.mark.parametrize(
    "options",
    [
        dict(mean=[1.0] * 5, std=[1.0] * 4),
        dict(mean=[1.0] * 5, std=[0.0] * 5),
        dict(mean=[], std=[]),
        dict(mean=[1.0] * 5, std=[1.0] * 5, bgr_to_rgb=True),
    ],
)
def test_bad_statistics(options: dict):
    with pytest.raises(UserError, match="BandsDataPreprocessor"):
        MODELS.get("BandsDataPreprocessor")(**options)
