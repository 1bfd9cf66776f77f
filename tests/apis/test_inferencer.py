"""MaskRInferencer: what comes back, what is written, and where names and colors come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools import mask as mask_api

from mmdet_maskr import checkpoint_files
from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.apis.class_names import join_meta
from mmdet_maskr.apis.model_files import default_device
from mmdet_maskr.apis.predictions import as_lists
from mmdet_maskr.datasets import ShapesDataset
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_rle import RLEMasks
from mmdet_maskr.visualization import InstanceVisualizer

PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="KeypointResize", scale_factor=1.0),
    dict(type="LoadKeypointAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="PackKeypointInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
HEAD = dict(type="HeatmapKeypointHead", num_keypoints=9, num_convs=1, in_channels=64,
            conv_out_channels=16)  # fmt: skip


@pytest.fixture
def cfg(repo: Path) -> Config:
    """The shapes model with a small keypoint branch; everything is detected."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    roi_head = cfg.model.roi_head
    roi_head.keypoint_roi_extractor = roi_head.mask_roi_extractor
    roi_head.keypoint_head = HEAD
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=6)
    cfg.test_dataloader.dataset.pipeline = PIPELINE
    return cfg


@pytest.fixture
def config_file(cfg: Config, tmp_path: Path) -> Path:
    cfg.dump(tmp_path / "config.py")
    return tmp_path / "config.py"


@pytest.fixture
def build(config_file: Path) -> Callable[..., MaskRInferencer]:
    """Builds an inferencer with random weights."""

    def build(**options) -> MaskRInferencer:
        torch.manual_seed(0)
        options = {"model": config_file, "device": "cpu", "show_progress": False, **options}
        return MaskRInferencer(**options)

    return build


@pytest.fixture
def photos(shapes_root: Path) -> list[Path]:
    return sorted((shapes_root / "val").glob("*.png"))


def save_checkpoint(cfg: Config, path: Path, meta: dict) -> Path:
    torch.manual_seed(1)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=meta), path)
    return path


def test_dictionary_and_file(build: Callable, photos: list[Path], tmp_path: Path):
    """They hold the data sample's predictions, in JSON's types."""
    inferencer = build()
    out = inferencer(photos[:2], batch_size=2, out_dir=str(tmp_path / "out"), no_save_pred=False)
    samples = inferencer(photos[:2], batch_size=2, return_datasamples=True)["predictions"]
    assert len(out["predictions"]) == 2
    for photo, result, sample in zip(photos, out["predictions"], samples, strict=False):
        expected = sample.pred_instances
        assert len(expected) == 6
        for name in ("labels", "scores", "bboxes", "keypoints", "keypoint_scores"):
            assert np.allclose(result[name], expected[name]), name
        assert np.shape(result["keypoints"]) == (6, 9, 2)
        assert np.array_equal(
            mask_api.decode(result["masks"]).transpose(2, 0, 1), expected.masks.numpy()
        )
        file = tmp_path / "out" / "preds" / f"{photo.stem}.json"
        assert json.loads(file.read_text()) == result
        drawn = cv2.imread(str(tmp_path / "out" / "vis" / photo.name))
        assert drawn.shape[1] == 384 <= drawn.shape[0], "photos of 96 pixels, enlarged"


def test_classes_without_keypoints():
    points = torch.tensor([[[1.5, 2.5]] * 9, [[0.0, 0.0]] * 9])
    sample = DetDataSample(
        pred_instances=InstanceData(
            labels=torch.tensor([5, 0]), scores=torch.tensor([0.9, 0.8]),
            bboxes=torch.tensor([[0.0, 0, 9, 9], [0, 0, 5, 5]]),
            keypoints=points, keypoint_scores=torch.tensor([[0.5] * 9, [0.0] * 9]),
        ),
        metainfo=dict(img_path="folder/photo.one.jpg"),
    )  # fmt: skip
    result = as_lists(sample)
    assert result["keypoints"] == [[[1.5, 2.5]] * 9, []]
    assert result["keypoint_scores"] == [[0.5] * 9, []]
    assert "masks" not in result


def test_masks_of_both_outputs(build: Callable, cfg: Config, photos: list[Path], tmp_path: Path):
    cfg.model.test_cfg.rcnn.mask_output = "rle"
    cfg.dump(tmp_path / "rle.py")
    dense = build()(photos[0])["predictions"][0]["masks"]
    inferencer = build(model=tmp_path / "rle.py")
    sample = inferencer(photos[0], return_datasamples=True)["predictions"][0]
    assert isinstance(sample.pred_instances.masks, RLEMasks)
    found = inferencer(photos[0], no_save_pred=False, out_dir=str(tmp_path))["predictions"][0]
    assert found["masks"] == dense
    assert all(isinstance(mask["counts"], str) for mask in dense)
    assert mask_api.area(dense).any()


def test_arrays_are_numbered_and_bgr(build: Callable, photos: list[Path], tmp_path: Path):
    """An array of cv2 gives what its file gives; its files carry its number, over all calls."""
    inferencer = build()
    array = cv2.imread(str(photos[1]))
    array[:] = (array * [1, 0.5, 0.1]).astype(np.uint8)  # far from gray
    cv2.imwrite(str(tmp_path / "blue.png"), array)
    options = dict(out_dir=str(tmp_path / "out"), no_save_pred=False, return_vis=True)
    first = inferencer([tmp_path / "blue.png", array], batch_size=2, **options)
    inferencer(array, batch_size=1, **options)
    assert first["predictions"][0] == first["predictions"][1]
    assert np.array_equal(*first["visualization"])
    for folder, suffix in (("preds", ".json"), ("vis", ".jpg")):
        files = sorted((tmp_path / "out" / folder).iterdir())
        assert [f.name for f in files if f.stem != "blue"] == [
            f"00000001{suffix}",
            f"00000002{suffix}",
        ]
    drawn = cv2.imread(str(tmp_path / "out" / "vis" / "00000001.jpg")).astype(float)
    same = cv2.imread(str(tmp_path / "out" / "vis" / "blue.png")).astype(float)
    assert np.abs(drawn - same).mean() < 8, "but for JPEG"


def test_numbers_when_pictures_alone_are_written(
    build: Callable, photos: list[Path], tmp_path: Path
):
    inferencer, array = build(), cv2.imread(str(photos[0]))
    for options in ({}, {"return_datasamples": True}, {}):
        inferencer(array, out_dir=str(tmp_path / "out"), **options)
    names = [f"0000000{i}.jpg" for i in range(3)]
    assert [f.name for f in sorted((tmp_path / "out" / "vis").iterdir())] == names


def test_folder_in_the_order_of_names(build: Callable, photos: list[Path], shapes_root: Path):
    inferencer = build()
    samples = inferencer(shapes_root / "val", return_datasamples=True)["predictions"]
    assert [sample.img_path for sample in samples] == [str(photo) for photo in photos]


def test_meta_without_a_checkpoint(build: Callable):
    """mmdet's own takes COCO's 80 names."""
    meta = build().model.dataset_meta
    for key in ("classes", "palette", "keypoints", "keypoint_classes", "skeleton"):
        assert list(meta[key]) == list(ShapesDataset.METAINFO[key]), key


def test_meta_of_the_checkpoint(build: Callable, cfg: Config, tmp_path: Path):
    """Its own names and skeleton count; the weights are its own too."""
    own = dict(CLASSES=("a", "b", "c", "d", "e", "f"), keypoints=tuple("ABCDEFGHI"),
               keypoint_swaps=(("A", "B"),), skeleton=(("A", "C"),))  # fmt: skip
    weights = save_checkpoint(cfg, tmp_path / "own.pth", dict(dataset_meta=own))
    inferencer = build(weights=weights)
    meta = inferencer.model.dataset_meta
    assert meta["classes"] == own["CLASSES"] and meta["keypoints"] == own["keypoints"]
    assert "keypoint_classes" not in meta, "the config's dataset is another one"
    assert inferencer.visualizer.dataset_meta is meta
    state = checkpoint_files.load(weights)["state_dict"]
    name = "roi_head.keypoint_head.score_lowres.weight"
    assert torch.equal(inferencer.model.state_dict()[name], state[name])


def test_joined_meta():
    config = dict(classes=("a", "b"), palette=[1, 2], keypoints=("x",), skeleton=())
    assert join_meta({}, config) == config
    assert join_meta(dict(classes=["a", "b"], keypoints=("y",)), config) == {
        **config, "classes": ["a", "b"], "keypoints": ("y",),
    }  # fmt: skip
    assert join_meta(dict(classes=("b", "a")), config) == dict(classes=("b", "a"), palette=[1, 2])
    assert join_meta(dict(classes=("c",)), dict(classes=("a",)))["palette"] == "random"


def test_names_that_do_not_fit_the_model(build: Callable, cfg: Config, tmp_path: Path):
    meta = dict(dataset_meta=dict(classes=("cat", "dog")))
    weights = save_checkpoint(cfg, tmp_path / "two.pth", meta)
    with pytest.raises(UserError, match=r"has 6 classes, but the checkpoint names 2: cat, dog"):
        build(weights=weights)


def test_grey_arrays(build: Callable, photos: list[Path], tmp_path: Path):
    """(H, W) gives what the file in gray gives, and its picture is drawn."""
    gray = cv2.imread(str(photos[0]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    inferencer = build()
    found = [
        inferencer(image, return_vis=True, no_save_vis=True)
        for image in (gray, gray[..., None], str(tmp_path / "gray.png"))
    ]
    assert len(found[0]["predictions"][0]["labels"]) > 0
    for other in found[1:]:
        assert other["predictions"] == found[0]["predictions"]
        np.testing.assert_array_equal(other["visualization"][0], found[0]["visualization"][0])


def test_visualizer(build: Callable, cfg: Config):
    """Ours for any config, unless another is given."""
    assert type(build().visualizer) is InstanceVisualizer
    cfg.pop("visualizer")
    assert type(build(model=cfg).visualizer) is InstanceVisualizer
    assert type(build(visualizer=dict(type="DetLocalVisualizer")).visualizer) is DetLocalVisualizer
    colored = build(palette="coco", visualizer=dict(type="InstanceVisualizer", mask_alpha=0.9))
    assert colored.visualizer.mask_alpha == 0.9
    assert colored.visualizer.dataset_meta["palette"] == "coco"


def test_batches_are_put_together_by_the_configs_function(build: Callable, cfg: Config, capfd):
    """By its name or with arguments, and without a warning of mmengine's registries."""
    assert build().collate_fn([{"a": 1}, {"a": 2}]) == {"a": [1, 2]}
    cfg.test_dataloader.collate_fn = dict(type="default_collate")
    assert build(model=cfg).collate_fn([{"a": 1}, {"a": 2}])["a"].tolist() == [1, 2]
    assert "Failed to search registry" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("accelerator", "cuda_ops", "compiled", "expected"),
    [
        ("cuda", "12.6", True, "cuda"),
        ("cuda", "not available", True, "cpu"),
        ("cuda", "not available", False, "cuda"),
        ("mps", "not available", True, "cpu"),
        ("mps", "not available", False, "mps"),
        ("npu", "not available", True, "npu"),
        ("cpu", "12.6", True, "cpu"),
    ],
)
def test_device(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, cuda_ops: str, compiled: bool, expected: str
):
    module = "mmdet_maskr.apis.model_files"
    monkeypatch.setattr(f"{module}.mmcv_extension.is_compiled", lambda: compiled)
    monkeypatch.setattr(f"{module}.get_device", lambda: accelerator)
    monkeypatch.setattr(f"{module}.get_compiling_cuda_version", lambda: cuda_ops)
    assert default_device() == expected


def test_bad_input(build: Callable, tmp_path: Path):
    with pytest.raises(UserError, match=r"there is no config .*nowhere\.py"):
        build(model="nowhere.py")
    inferencer = build()
    with pytest.raises(UserError, match=r"there is no image .*nowhere\.jpg"):
        inferencer("nowhere.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in the folder .*empty"):
        inferencer(tmp_path / "empty")
    with pytest.raises(UserError, match=r"image 1 is an array of shape \(9, 9, 4\)"):
        inferencer([np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 4), np.uint8)])
