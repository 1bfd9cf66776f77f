"""The runtime: mmdet's pixels, masks and keypoints, without OpenMMLab's packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
import pytest
import torch
from mmcv.transforms import Compose

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from exported import KINDS, dataset_meta, photo, thin_model

import maskr
import mmdet_maskr.deploy
from mmdet_maskr.deploy import instances, load
from mmdet_maskr.deploy.export.metadata import resize_of
from mmdet_maskr.deploy.export.write import export
from mmdet_maskr.deploy.images import prepare, read_image
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.video import VideoFrames, VideoSink
from mmdet_maskr.ops.keypoint_decode import decode_heatmaps
from mmdet_maskr.ops.mask_paste import paste_masks

# a process in which these are not installed; it prints the predictions
WITHOUT = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {
            "mmdet", "mmcv", "mmengine", "torch", "torchvision", "pycocotools", "matplotlib"
        }:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
import mmdet_maskr
from mmdet_maskr.deploy import load

try:
    mmdet_maskr.models
except ImportError as error:
    print(error)
found = load(sys.argv[1], threads=1)(sys.argv[2:])["predictions"]
print("RESULT", json.dumps(found))
assert not {"mmdet", "mmcv", "mmengine", "torch"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an exported joint model in ONNX."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    model, cfg = thin_model(KINDS["joint"])
    export(model, cfg, dataset_meta(model), folder, "onnx")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i, size in enumerate([(80, 100), (70, 60)]):
        cv2.imwrite(str(folder / f"{i}.png"), photo(*size, seed=i))
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_video(exported: Path, tmp_path: Path):
    """Drawn on frame by frame; nothing is drawn below the threshold."""
    film = VideoSink(tmp_path / "in.avi", 5.0)
    for seed in range(3):
        film.write(photo(96, 128, seed))
    film.close(True)
    model = load(exported, threads=1)
    out = tmp_path / "out.avi"
    found = model(str(film.path), film=out, out_dir=tmp_path)["predictions"]
    assert json.loads((tmp_path / "preds" / "in.json").read_text()) == found and len(found) == 3
    plain, drawn = (np.stack(list(VideoFrames(path))).astype(int) for path in (film.path, out))
    best = min(max(frame["scores"]) for frame in found)
    assert best > 0.3 and drawn.shape == plain.shape
    assert (np.abs(drawn - plain) > 60).mean((1, 2, 3)).min() > 0.02
    model(str(film.path), film=out, score_thr=1.0)
    drawn = np.stack(list(VideoFrames(out))).astype(int)
    assert (np.abs(drawn - plain) > 60).mean() < 0.001
    for options in (dict(film=out, masks="bitmaps"), dict(film=tmp_path / "a.gif")):
        with pytest.raises(UserError):
            model(str(film.path), **options)
    for options in (dict(film=out), dict(track=True)):
        with pytest.raises(UserError, match="for a video"):
            model(photo(96, 128), **options)


def predict(*words: object) -> int:
    try:
        maskr.main(["predict", *map(str, words)])
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def test_on_the_command_line(exported: Path, photos: Path, tmp_path: Path, capsys):
    """Named before the photos or by --weights: the files of a checkpoint, with the same options."""
    expected = load(exported)(photos)["predictions"]
    capsys.readouterr()
    out, file = tmp_path / "out", tmp_path / "found.json"
    words = (exported, photos, "--out-dir", out, "--score-thr", "0.2", "--coco-json", file)
    assert predict(*words, "--write", "coco", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    written = [json.loads((out / "preds" / f"{i}.json").read_text()) for i in range(2)]
    for found, all_of_it in zip(written, expected, strict=True):
        kept = sum(score >= 0.2 for score in all_of_it["scores"])
        assert 0 < kept < len(all_of_it["scores"])
        assert found == {name: values[:kept] for name, values in all_of_it.items()}
    count = sum(len(found["labels"]) for found in written)
    assert sum(summary["detections"].values()) == count == len(json.loads(file.read_text()))
    assert set(summary["files"]) == {"pictures", "predictions", "coco_json", "coco"}
    for i in range(2):  # small photos are drawn enlarged, with a legend
        picture = cv2.imread(str(out / "vis" / f"{i}.png"))
        plain = cv2.imread(str(photos / f"{i}.png"))
        factor, rest = divmod(picture.shape[1], plain.shape[1])
        assert factor > 1 and rest == 0
        plain = cv2.resize(plain, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        assert np.abs(picture[: len(plain)].astype(int) - plain).mean() > 5
    again = tmp_path / "again"
    words = (photos, "--weights", exported, "--out-dir", again, "--no-save-vis", "--outputs")
    assert predict(*words, "boxes", "--tile", "64", "--score-thr", "0") == 0
    lists = json.loads((again / "preds" / "0.json").read_text())
    assert set(lists) == {"labels", "scores", "bboxes"} and len(lists["labels"]) > 0
    assert not (again / "vis").exists()


def test_a_video_on_the_command_line(exported: Path, tmp_path: Path, capsys):
    film = VideoSink(tmp_path / "in.avi", 5.0)
    for seed in range(3):
        film.write(photo(96, 128, seed))
    film.close(True)
    out = tmp_path / "out.avi"
    words = (exported, film.path, "--out-dir", tmp_path, "--out", out, "--score-thr", "0")
    assert predict(*words) == 0
    expected = load(exported)(str(film.path))["predictions"]
    assert json.loads((tmp_path / "preds" / "in.json").read_text()) == expected
    assert len(VideoFrames(out)) == 3


def test_options_of_checkpoints(exported: Path, photos: Path, tmp_path: Path, capsys):
    for words, said in (
        ((exported, photos, "--optimize"), "--optimize is not for an exported model"),
        ((exported, photos, "--batch-size", 2), "--batch-size is not for an exported model"),
        ((exported, photos, "--config", "a.py"), "--config is not for an exported model"),
        ((exported,), "either photos or a video"),
        ((photos,), "needs a model"),
        ((exported, photos, "--device", "tpu"), "tpu"),
    ):
        assert predict(*words, "--out-dir", tmp_path / "out") == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_openmmlab(exported: Path, photos: Path, repo: Path):
    """With numpy, OpenCV and the format's library alone it gives what it gives here."""
    paths = [str(photos / "0.png"), str(photos / "1.png")]
    env = {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WITHOUT, str(exported), *paths]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    told, _, result = done.stdout.partition("RESULT")
    assert "mmdet_maskr needs PyTorch, which is not installed" in told
    expected = load(exported, threads=1)(paths)["predictions"]
    found = json.loads(result)
    assert [len(f["scores"]) for f in found] == [len(e["scores"]) for e in expected]
    np.testing.assert_allclose(found[0]["bboxes"], expected[0]["bboxes"], atol=1e-3)
    assert found[0]["masks"][0]["size"] == [80, 100]


def test_lazy_exports():
    assert mmdet_maskr.deploy.__all__ == ["load", "optimize"]
    assert mmdet_maskr.deploy.load is load
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mmdet_maskr.deploy.nothing


def test_inputs(exported: Path, photos: Path, tmp_path: Path):
    """A path, an array, a folder and a sequence; masks as RLEs and bitmaps; JSON files."""
    model = load(exported, threads=1)
    folder = model(photos, out_dir=tmp_path)["predictions"]
    assert len(folder) == 2 and model.classes[0] == "class0"
    array = cv2.imread(str(photos / "0.png"))
    single = model(array)["predictions"]
    several = model([str(photos / "0.png"), array], masks="bitmaps")["predictions"]
    assert len(single) == 1 and len(several) == 2
    for other in (single[0], several[0], several[1]):
        np.testing.assert_allclose(other["bboxes"], folder[0]["bboxes"], atol=1e-3)
    decoded = pycocotools.mask.decode(folder[0]["masks"]).transpose(2, 0, 1)
    assert decoded.any()
    assert np.mean(decoded != several[0]["masks"]) < 1e-4
    assert json.loads((tmp_path / "preds" / "0.json").read_text()) == folder[0]
    assert (tmp_path / "preds" / "1.json").is_file()
    labels = folder[0]["labels"]
    assert {label % 2 for label in labels} == {0, 1}
    assert [bool(points) for points in folder[0]["keypoints"]] == [x % 2 == 0 for x in labels]


def test_images_of_one_name(exported: Path, photos: Path, tmp_path: Path):
    """Their files would overwrite one another: nothing is written, and the message says so."""
    (tmp_path / "other").mkdir()
    twins = [photos / "0.png", tmp_path / "other" / "0.jpg"]
    cv2.imwrite(str(twins[1]), photo(40, 40))
    model = load(exported, threads=1)
    with pytest.raises(UserError, match=r"2 images are named 0, and their files in out_dir"):
        model(twins, out_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(model(twins)["predictions"]) == 2


def test_a_broken_image_among_many(exported: Path, photos: Path, tmp_path: Path):
    """It is left out, as by MaskRInferencer; patterns and videos are taken, too."""
    (tmp_path / "broken.png").write_bytes(b"no image")
    model = load(exported, threads=1)
    images = [photos / "0.png", tmp_path / "broken.png", photos / "1.png"]
    found = model(images, out_dir=tmp_path / "out")
    assert found["images"] == [str(images[0]), str(images[2])]
    assert list(found["failed"]) == [str(images[1])]
    assert found["predictions"] == model(f"{photos}/*.png")["predictions"]
    assert sorted(p.name for p in (tmp_path / "out/preds").iterdir()) == ["0.json", "1.json"]
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (60, 50))
    for seed in range(2):
        film.write(photo(50, 60, seed))
    film.release()
    frames = model(tmp_path / "film.avi", out_dir=tmp_path / "out")
    assert frames["images"] == [0, 1]
    written = json.loads((tmp_path / "out" / "preds" / "film.json").read_text())
    assert written == frames["predictions"]


@pytest.mark.parametrize(
    "resize",
    [
        dict(type="Resize", scale=(100, 60), keep_ratio=True),
        dict(type="Resize", scale=(100, 60)),
        dict(type="KeypointResize", scale_factor=1.37),
        dict(type="Resize", scale_factor=(0.5, 0.7), keep_ratio=False),
        dict(type="SourceResize", scale=(100, 60), convention="detectron2"),
        dict(type="SourceResize", scale=(1333, 800), convention="detectron2"),  # 418.5, or nearly
    ],
)
@pytest.mark.parametrize("size", [(83, 61), (40, 200), (27, 86)])
def test_pixels_are_those_of_the_pipeline(resize: dict, size: tuple[int, int], tmp_path: Path):
    if resize["type"] == "SourceResize":
        pytest.importorskip("PIL")
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), photo(*size))
    keys = ("ori_shape", "img_shape", "scale_factor")
    steps = [dict(type="LoadImageFromFile"), resize, dict(type="PackDetInputs", meta_keys=keys)]
    expected = Compose(steps)(dict(img_path=str(path), img_id=0))
    found = prepare(read_image(path), resize_of(steps))
    np.testing.assert_array_equal(found.image[0], expected["inputs"].numpy())
    sample = expected["data_samples"]
    assert found.size == tuple(sample.ori_shape)
    np.testing.assert_allclose(found.scale, sample.scale_factor)


def boxes_of(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-10, [width, height], (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0.5, 90, (count, 2))], 1).astype(np.float32)


def test_masks_are_ours():
    """Pasted as mmdet does, within rounding of the threshold; at the border and for lines too."""
    height, width = 70, 90
    boxes = boxes_of(40, height, width)
    boxes[0, 2] = boxes[0, 0]
    boxes[1] = [-50, -50, -20, -20]
    rng = np.random.default_rng(1)
    masks = cv2.resize(rng.random((40, 7, 7)).transpose(1, 2, 0), (28, 28)).transpose(2, 0, 1)
    masks = np.ascontiguousarray(masks, np.float32)
    crops = list(instances.crops(masks, boxes, (height, width), 0.5))
    found = instances.dense(crops, (height, width))
    expected = paste_masks(torch.from_numpy(masks), torch.from_numpy(boxes), height, width).numpy()
    assert expected.any(axis=(1, 2)).sum() > 30 and not expected[1].any()
    assert (found != expected).sum() <= 3
    for rle, mask in zip(instances.encode(crops, (height, width)), found, strict=True):
        scanned = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == dict(size=[height, width], counts=scanned["counts"].decode())


@pytest.mark.parametrize("smooth", [True, False])
def test_keypoints_are_ours(smooth: bool):
    """Our decoding in PyTorch gives the same points, of peaked and of noisy maps."""
    rng = np.random.default_rng(2)
    boxes = boxes_of(12, 300, 400, seed=3)
    boxes[6:, 2:] += rng.uniform(50, 300, (6, 2)).astype(np.float32)
    boxes[0, 2:] = boxes[0, :2] + 0.3
    heatmaps = rng.standard_normal((12, 5, 56, 56)).astype(np.float32)
    if smooth:
        heatmaps = np.stack(
            [[cv2.GaussianBlur(m, (0, 0), 4) * 40 for m in maps] for maps in heatmaps]
        )
    points, peaks, probabilities = instances.decode_keypoints(heatmaps, boxes)
    expected = decode_heatmaps(torch.from_numpy(heatmaps), torch.from_numpy(boxes))
    np.testing.assert_allclose(points, expected[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(peaks, expected[1].numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probabilities, expected[2].numpy(), rtol=1e-3)
