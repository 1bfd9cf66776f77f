"""What a call of MaskRInferencer takes and gives: broken images, URLs, videos, scores, results."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.apis.model_files import find_model
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.coco_metric import CocoInstanceMetric


def config_of(repo: Path) -> Config:
    """The shapes model; five detections an image, of any score."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    return cfg


@pytest.fixture(scope="module")
def inferencer(repo: Path) -> MaskRInferencer:
    torch.manual_seed(0)
    as_large = dict(type="InstanceVisualizer", least_side=0)
    options = dict(device="cpu", show_progress=False, visualizer=as_large)
    return MaskRInferencer(config_of(repo), **options)


@pytest.fixture
def photos(shapes_root: Path) -> list[Path]:
    return sorted((shapes_root / "val").glob("*.png"))


def test_broken_files_are_reported_at_the_end(
    inferencer: MaskRInferencer, photos: list[Path], tmp_path: Path, capfd
):
    """The others are done, in every batch, and each result says of which image it is."""
    for photo in photos:
        shutil.copy(photo, tmp_path)
    (tmp_path / "000001a.png").write_bytes(b"no image")
    (tmp_path / "000003a.jpg").write_bytes(photos[0].read_bytes()[:60])
    results = inferencer(tmp_path, batch_size=2)
    assert [Path(path).name for path in results["images"]] == [photo.name for photo in photos]
    assert [Path(path).name for path in results["failed"]] == ["000001a.png", "000003a.jpg"]
    assert set(results["failed"].values()) == {"it cannot be decoded"}
    alone = inferencer(photos, batch_size=2)["predictions"]
    assert [r["labels"] for r in results["predictions"]] == [r["labels"] for r in alone]
    output = capfd.readouterr()
    assert "2 of 6 images could not be read" in output.out + output.err
    with pytest.raises(UserError, match=r"000001a\.png cannot be read: it cannot be decoded"):
        inferencer(tmp_path / "000001a.png")
    with pytest.raises(UserError, match="none of the 2 images can be read"):
        inferencer([tmp_path / "000001a.png", tmp_path / "000003a.jpg"])


def test_urls(inferencer: MaskRInferencer, photos: list[Path], tmp_path: Path):
    """They give what the files give, under their names."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    handler = partial(Silent, directory=photos[0].parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{httpd.server_address[1]}"
        urls = [f"{root}/{photos[0].name}?size=1", f"{root}/absent.png", f"{root}/{photos[1].name}"]
        found = inferencer(urls, out_dir=tmp_path, no_save_pred=False)
        with pytest.raises(UserError, match=r"absent\.png cannot be downloaded \(HTTP 404"):
            inferencer(urls[1])
        httpd.shutdown()
    assert found["images"] == [urls[0], urls[2]] and list(found["failed"]) == [urls[1]]
    assert found["predictions"] == inferencer(photos[:2])["predictions"]
    for folder, suffix in (("vis", ".png"), ("preds", ".json")):
        names = sorted(entry.name for entry in (tmp_path / folder).iterdir())
        assert names == [photo.stem + suffix for photo in photos[:2]]


def test_a_video(
    inferencer: MaskRInferencer, photos: list[Path], shapes_root: Path, tmp_path: Path
):
    """Each frame is an image; out comes a video of the same length and size, drawn on."""
    film = tmp_path / "film.avi"
    frames = [cv2.imread(str(photo)) for photo in photos[:3]]
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"MJPG"), 10, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame)
    writer.release()
    out = inferencer(
        film, batch_size=2, out_dir=tmp_path / "out", no_save_pred=False, pred_score_thr=0.0,
        coco_json=tmp_path / "found.json", return_vis=True,
    )  # fmt: skip
    assert out["images"] == [0, 1, 2] and len(out["predictions"]) == 3
    assert json.loads((tmp_path / "out" / "preds" / "film.json").read_text()) == out["predictions"]
    records = json.loads((tmp_path / "found.json").read_text())
    assert [record["image_id"] for record in records] == [0] * 5 + [1] * 5 + [2] * 5
    assert [p.name for p in (tmp_path / "out" / "vis").iterdir()] == ["film.avi"]
    drawn = cv2.VideoCapture(str(tmp_path / "out" / "vis" / "film.avi"))
    for frame, picture in zip(frames, out["visualization"], strict=True):
        _, stored = drawn.read()
        assert stored.shape == frame.shape == picture.shape
        assert np.abs(stored.astype(float) - picture[..., ::-1]).mean() < 12, "but for JPEG"
        assert np.abs(frame.astype(float) - picture[..., ::-1]).mean() > 1, "something is drawn"
    with pytest.raises(UserError, match="is a video: pass one video file at a time"):
        inferencer([film, photos[0]])
    with pytest.raises(UserError, match="arrays and frames have none"):
        truth = shapes_root / "annotations" / "instances_val.json"
        inferencer(film, coco_json=tmp_path / "found.json", ann_file=truth)


def test_thresholds(inferencer: MaskRInferencer, photos: list[Path]):
    """Of each class, in what comes back; of pictures they are others."""
    everything = inferencer(photos[0])["predictions"][0]
    classes = inferencer.model.dataset_meta["classes"]
    least = sorted(everything["scores"])[2]
    kept = inferencer(photos[0], score_thr=least)["predictions"][0]
    assert kept["scores"] == [s for s in everything["scores"] if s >= least]
    assert len(kept["masks"]) == len(kept["keypoints"]) == len(kept["labels"]) == 3
    label = everything["labels"][0]
    mine = inferencer(photos[0], score_thr={classes[label]: 0.0, "default": 1.0})["predictions"][0]
    assert mine["labels"] == [i for i in everything["labels"] if i == label]
    others = inferencer(photos[0], score_thr={classes[label]: 1.0})["predictions"][0]
    assert others["labels"] == [i for i in everything["labels"] if i != label]
    options = dict(return_vis=True)
    empty = inferencer(photos[0], pred_score_thr=1.0, **options)
    image = cv2.imread(str(photos[0]))[..., ::-1]
    assert np.array_equal(empty["visualization"][0], image) and len(empty["predictions"][0]) > 0
    full = inferencer(photos[0], pred_score_thr={"default": 0.0}, **options)["visualization"][0]
    assert not np.array_equal(full, image)


def test_parts(inferencer: MaskRInferencer, photos: list[Path]):
    boxes = inferencer(photos[0], outputs=["boxes"])["predictions"][0]
    assert set(boxes) == {"labels", "scores", "bboxes"}
    masks = inferencer(photos[0], outputs="masks", return_datasamples=True)["predictions"][0]
    assert "masks" in masks.pred_instances and "keypoints" not in masks.pred_instances


def test_parts_that_a_model_lacks(repo: Path, photos: list[Path]):
    cfg = config_of(repo)
    for key in ("mask_head", "mask_roi_extractor", "keypoint_head", "keypoint_roi_extractor"):
        cfg.model.roi_head.pop(key, None)
    boxes_only = MaskRInferencer(cfg, device="cpu", show_progress=False)
    assert "masks" not in boxes_only(photos[0])["predictions"][0]
    with pytest.raises(
        UserError, match=r"has no masks, because its roi_head has no mask_head\. Use"
    ):
        boxes_only(photos[0], outputs=("boxes", "masks"))
    with pytest.raises(UserError, match="has no keypoint_head"):
        boxes_only(photos[0], outputs=("keypoints",))


def test_scores_are_those_of_the_metric(
    inferencer: MaskRInferencer, shapes_root: Path, tmp_path: Path, monkeypatch
):
    """The file's AP by pycocotools is CocoInstanceMetric's of the same predictions.

    The shapes' boxes are given to the model's detections, because a random model finds nothing.
    """
    ann_file = shapes_root / "annotations" / "instances_val.json"
    truth = COCO(str(ann_file))
    rng = np.random.default_rng(0)

    def place(sample) -> None:
        name = Path(sample.img_path).name
        image = next(i for i in truth.dataset["images"] if i["file_name"] == name)
        found = sample.pred_instances
        for i, annotation in enumerate(truth.imgToAnns[image["id"]][: len(found)]):
            x, y, w, h = annotation["bbox"]
            found.bboxes[i] = torch.tensor([x, y, x + w, y + h]) + torch.tensor(
                rng.normal(0, 1, 4), dtype=torch.float32
            )
            found.labels[i] = annotation["category_id"] - 1

    step = inferencer.model.test_step
    monkeypatch.setattr(
        inferencer.model, "test_step", lambda data: [place(s) or s for s in step(data)]
    )
    samples = inferencer(
        shapes_root / "val", return_datasamples=True, coco_json=tmp_path / "found.json",
        ann_file=ann_file,
    )["predictions"]  # fmt: skip
    ids = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
    metric = CocoInstanceMetric(str(ann_file), metric=["bbox", "segm"], backend="pycocotools")
    metric.dataset_meta = inferencer.model.dataset_meta
    for sample in samples:
        sample.set_metainfo(dict(img_id=ids[Path(sample.img_path).name]))
    metric.process({}, [sample.to_dict() for sample in samples])
    expected = metric.evaluate(len(samples))
    loaded = truth.loadRes(str(tmp_path / "found.json"))
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, loaded, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        for place_in, item in enumerate(("mAP", "mAP_50", "mAP_75")):
            stat = round(float(evaluation.stats[place_in]), 3)
            assert stat == expected[f"coco/{kind}_{item}"], (kind, item)
    assert expected["coco/bbox_mAP"] > 0.1


def test_bad_options(inferencer: MaskRInferencer, photos: list[Path], tmp_path: Path):
    for options, message in (
        (dict(score_thr={"discs": 0.5}), r"has the class 'discs'.*did you mean 'disc'"),
        (dict(pred_score_thr=3), r"pred_score_thr=3: default must be a score from 0 to 1"),
        (dict(outputs=["mask"]), r"there are \('boxes', 'masks', 'keypoints'\)"),
        (dict(batch_size=0), "batch_size=0: it must be 1 or more"),
        (dict(ann_file="x.json"), "only with coco_json"),
    ):
        with pytest.raises(UserError, match=message):
            inferencer(photos[0], **options)
    shutil.copy(photos[0], tmp_path)
    same = [photos[0], tmp_path / photos[0].name]
    assert len(inferencer(same)["predictions"]) == 2
    with pytest.raises(UserError, match="would overwrite one another"):
        inferencer(same, out_dir=tmp_path / "out")


def test_where_models_are_from(repo: Path, tmp_path: Path):
    """Names of the packaged index, folders of converted checkpoints, checkpoints alone."""
    config = str(repo / "configs" / "mini" / "maskr_shapes.py")
    (tmp_path / "config.py").write_text("")
    (tmp_path / "model.pth").write_text("")
    both = (str(tmp_path / "config.py"), str(tmp_path / "model.pth"))
    assert find_model("mini_maskr_shapes", both[1]) == (config, both[1])
    assert find_model("mini/maskr_shapes", both[1]) == (config, both[1])
    assert find_model(Path(config), None) == (config, None)
    assert find_model(tmp_path, None) == both
    assert find_model(both[1], None) == find_model(None, both[1]) == find_model(*both) == both
    assert find_model("mask-rcnn_r50_fpn_1x_coco", None) == ("mask-rcnn_r50_fpn_1x_coco", None)
    for given, message in (
        (
            ("maskr_r50_fpn_1x", None),
            r"no weights of ours are published for maskr_r50_fpn_1x.*weights=",
        ),
        (("maskr_r50_fpn_1y", None), r"no model of this name.*did you mean maskr_r50_fpn_1x"),
        ((config, "nowhere.pth"), r"there is no checkpoint .*nowhere\.pth"),
        ((None, None), "pass a config as model"),
        ((both[1], both[1]), "are both checkpoints"),
        ((repo / "docs", None), r"has no config\.py"),
    ):
        with pytest.raises(UserError, match=message):
            find_model(*given)


def test_checkpoints_without_a_config_or_classes(repo: Path, tmp_path: Path, capfd):
    cfg = config_of(repo)
    torch.manual_seed(1)
    weights = tmp_path / "weights.pth"
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), weights)
    options = dict(device="cpu", show_progress=False)
    with pytest.raises(UserError, match=r"weights\.pth contains no config: pass the config"):
        MaskRInferencer(weights=weights, **options)
    MaskRInferencer(cfg, weights, **options)
    output = capfd.readouterr()
    said = "has no class names, so the classes of the config's dataset are used: disc, box"
    assert said in output.out + output.err
    names = tuple("abcdef")
    inferencer = MaskRInferencer(cfg, weights, classes=names, **options)
    assert inferencer.model.dataset_meta["classes"] == names
    with pytest.raises(UserError, match=r"has 6 classes, but the option classes names 2: a, b"):
        MaskRInferencer(cfg, weights, classes=("a", "b"), **options)


def test_a_config_alone_gives_a_random_model(repo: Path):
    """MMDetection's inferencer allows it; the warning says what to pass."""
    with pytest.warns(UserWarning, match=r"no weights: .* random weights.*Pass weights="):
        MaskRInferencer(config_of(repo), device="cpu", show_progress=False)


def test_a_checkpoint_of_another_model(repo: Path, tmp_path: Path):
    """mmengine would load what fits: the message has the number of that, and what does not."""
    cfg = config_of(repo)
    state = MODELS.build(cfg.model).state_dict()
    count = sum("num_batches" not in name for name in state)
    mask = [name for name in state if "mask_head" in name]
    head = "roi_head.bbox_head.fc_cls.weight"
    wider = {head: torch.zeros(81, *state[head].shape[1:])}
    for given, message in (
        (
            {n: v for n, v in state.items() if n not in mask},
            rf"weights\.pth does not fit: it has {count - len(mask)} of the "
            rf"model's {count} weights; {len(mask)} missing \({re.escape(mask[0])}, .*, \.\.\.\)\."
            r" Use the config that it was trained with",
        ),
        (
            state | wider,
            rf"has {count - 1} of .*; 1 of another shape \({head}: \(81, \d+\) in it, \(7, \d+\) "
            r"in the model\)\. It was trained on 80 classes, and the model has 6\.",
        ),
        (
            state | {"backbone.layer4.9.bn1.bias": torch.zeros(9)},
            rf"it has {count} of .* 1 of another backbone \(backbone\.layer4\.9\.bn1\.bias\)",
        ),
        (dict(epoch=3), r"is not a checkpoint: it is a dict without weights but \['epoch'\]"),
    ):
        content = given if "epoch" in given else dict(state_dict=given, meta={})
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(UserError, match=message):
            MaskRInferencer(cfg, tmp_path / "weights.pth", device="cpu", show_progress=False)
    older = {f"module.{n}": v for n, v in state.items() if "num_batches" not in n}
    extra = {"roi_head.keypoint_head.weight": torch.zeros(2)}
    torch.save(dict(state_dict=older | extra, meta={}), tmp_path / "weights.pth")
    MaskRInferencer(cfg, tmp_path / "weights.pth", device="cpu", show_progress=False)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_devices_that_are_not_there(repo: Path, device: str):
    with pytest.raises(UserError, match=f"device='{device}'"):
        MaskRInferencer(config_of(repo), device=device)
