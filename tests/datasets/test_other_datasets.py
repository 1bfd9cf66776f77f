"""LVIS, Cityscapes and VOC: their formats are read, perfect predictions score 1, errors say why."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.structures import InstanceData
from small_datasets import by_image, mask_of, read, write_cityscapes, write_lvis, write_voc

import mmdet_maskr  # noqa: F401  (registers the datasets)
from mmdet_maskr.datasets.cityscapes import CATEGORIES, instances_of
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.ops.mask_rle import RLEMasks, encode_masks

WRITERS = dict(lvis=write_lvis, cityscapes=write_cityscapes, voc=write_voc)
BASES = dict(lvis="lvis_v1_instance", cityscapes="cityscapes_instance", voc="voc0712")


@pytest.fixture(scope="module", params=WRITERS)
def written(request, tmp_path_factory: pytest.TempPathFactory, shapes_root: Path, repo: Path):
    """Name, folder and config of a small dataset."""
    name = request.param
    if name == "lvis":
        pytest.importorskip("lvis", reason="LVIS needs the package lvis")
    root = WRITERS[name](tmp_path_factory.mktemp(name), shapes_root)
    cfg = Config.fromfile(repo / "configs" / "_base_" / "datasets" / f"{BASES[name]}.py")
    replace_data_root(cfg, cfg.data_root, str(root))
    return name, root, cfg


def perfect(data_sample: dict, masks: bool) -> dict:
    """A data sample whose predictions are its ground truth, at the original size."""
    gt = data_sample["gt_instances"]
    scale = gt.bboxes.tensor.new_tensor(data_sample["scale_factor"]).repeat(2)
    pred = InstanceData(bboxes=gt.bboxes.tensor / scale, labels=gt.labels)
    pred.scores = torch.linspace(0.9, 0.5, len(pred.labels))
    if masks:
        pred.masks = torch.from_numpy(gt.masks.to_ndarray()).bool()
    return {**data_sample, "pred_instances": pred}


def test_perfect_predictions_score_one(written):
    """By each dataset's own metric; crowds and difficult objects do not count."""
    name, _, cfg = written
    if name == "cityscapes":
        pytest.importorskip(
            "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling",
            reason="the metric is that of cityscapesscripts",
            exc_type=ImportError,
        )
    # at original size, so that masks need no resizing
    cfg.val_dataloader.dataset.pipeline[1] = dict(type="Resize", scale_factor=1.0)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    for evaluator in evaluators:
        metric = METRICS.build(evaluator)
        metric.dataset_meta = dataset.metainfo
        for i in range(len(dataset)):
            packed = dataset[i]["data_samples"]
            sample = perfect(
                {**packed.to_dict(), "gt_instances": packed.gt_instances}, name != "voc"
            )
            sample["gt_instances"] = packed.gt_instances.to_dict()
            sample["ignored_instances"] = packed.ignored_instances.to_dict()
            sample["pred_instances"] = sample["pred_instances"].to_dict()
            metric.process({}, [sample])
        scores = metric.evaluate(size=len(dataset))
        keys = [k for k in scores if k.split("/")[1] in ("bbox_mAP", "segm_mAP", "mAP", "segm_AP")]
        assert keys, scores
        assert all(scores[key] == pytest.approx(1, abs=2e-3) for key in keys), scores


def test_instances_are_the_shapes(written, shapes_root: Path):
    """Number, class, box and crowd flag of every object come through the format."""
    name, _, cfg = written
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    content = read(shapes_root, "val")
    for i, (_, objects) in enumerate(by_image(content)):
        if name == "lvis":
            objects = [o for o in objects if not o["iscrowd"]]
        found = dataset.get_data_info(i)["instances"]
        if name != "cityscapes":  # where pixels belong to one object, which changes boxes
            assert len(found) == len(objects)
            expected = [[x, y, x + w, y + h] for x, y, w, h in (o["bbox"] for o in objects)]
            boxes = np.array([f["bbox"] for f in found])
            assert np.abs(boxes - np.array(expected)).max() <= 1
        assert {f["bbox_label"] for f in found} <= {o["category_id"] - 1 for o in objects}
        assert any(f["ignore_flag"] for f in found) == any(o["iscrowd"] for o in objects)


def test_missing_folder(written):
    """Errors name the path that is not there and the option that sets it."""
    name, root, cfg = written
    dataset = cfg.val_dataloader.dataset.copy()
    dataset.data_root = str(root / "elsewhere")
    what = "list of images" if name == "voc" else "annotation file"
    with pytest.raises(ValueError, match=rf"no .*{what} .*elsewhere.*set data_root"):
        DATASETS.build(dataset)


def test_rare_images_are_repeated(tmp_path: Path, shapes_root: Path, repo: Path):
    """LVIS: an image counts sqrt(t / frequency) times for its rarest class."""
    pytest.importorskip("lvis", reason="LVIS needs the package lvis")
    root = write_lvis(tmp_path / "lvis", shapes_root)
    cfg = Config.fromfile(repo / "configs" / "_base_" / "datasets" / "lvis_v1_instance.py")
    replace_data_root(cfg, cfg.data_root, str(root))
    dataset = cfg.train_dataloader.dataset
    assert (dataset.type, dataset.oversample_thr) == ("ClassBalancedDataset", 1e-3)
    dataset.oversample_thr = 4.0  # twice for what is on every image, more for the others
    built = DATASETS.build(dataset)
    assert len(built) >= 2 * len(built.dataset)
    content = json.loads((root / "annotations/lvis_v1_train.json").read_text())
    counts = {c["id"]: c["image_count"] for c in content["categories"]}
    for i in range(len(built.dataset)):
        labels = {x["bbox_label"] for x in built.dataset.get_data_info(i)["instances"]}
        rarest = min(counts[label + 1] for label in labels) / len(built.dataset)
        repeated = built.repeat_indices.count(i)
        assert repeated == int(np.ceil(np.sqrt(4.0 / rarest)))


def test_lvis_metric_takes_rles(tmp_path: Path, shapes_root: Path):
    """The masks that the model gives in evaluation are kept as they are."""
    pytest.importorskip("lvis", reason="LVIS needs the package lvis")
    root = write_lvis(tmp_path / "lvis", shapes_root)
    ann_file = str(root / "annotations/lvis_v1_val.json")
    metric = METRICS.build(dict(type="LVISInstanceMetric", ann_file=ann_file, metric="segm"))
    rles = encode_masks(torch.ones(1, 2, 2), torch.tensor([[1.0, 1, 9, 9]]), 20, 20, 0.5)
    assert isinstance(rles, RLEMasks) and metric.accepts_rle
    pred = dict(bboxes=torch.zeros(1, 4), scores=torch.ones(1), labels=torch.zeros(1), masks=rles)
    metric.process({}, [dict(img_id=1, ori_shape=(20, 20), pred_instances=pred)])
    assert metric.results[0][1]["masks"][0] == rles[0]
    with pytest.raises(ValueError, match="no LVIS annotation file None"):
        METRICS.build(dict(type="LVISInstanceMetric"))


@pytest.mark.parametrize("items", [None, ["AP", "APr"]])
def test_lvis_scores_of_nothing_are_zero(tmp_path: Path, shapes_root: Path, items: list | None):
    """Every key that a detection would give is there: best checkpoints are chosen by one."""
    pytest.importorskip("lvis", reason="LVIS needs the package lvis")
    root = write_lvis(tmp_path / "lvis", shapes_root)
    ann_file = str(root / "annotations/lvis_v1_val.json")
    keys = {}
    for count in (0, 1):
        metric = METRICS.build(
            dict(type="LVISInstanceMetric", ann_file=ann_file, metric=["bbox", "segm", "proposal"],
                 outfile_prefix=str(tmp_path / f"results{count}"), metric_items=items,
                 classwise=True)
        )  # fmt: skip
        metric.dataset_meta = dict(classes=())
        content = json.loads(Path(ann_file).read_text())
        for image in content["images"]:
            size = (image["height"], image["width"])
            pred = dict(bboxes=torch.zeros(count, 4), scores=torch.ones(count),
                        labels=torch.zeros(count, dtype=torch.long),
                        masks=torch.zeros(count, *size, dtype=torch.bool))  # fmt: skip
            metric.process({}, [dict(img_id=image["id"], ori_shape=size, pred_instances=pred)])
        scores = metric.evaluate(size=len(content["images"]))
        keys[count] = list(scores)
        if count == 0:
            assert scores["lvis/bbox_AP"] == scores["lvis/segm_AP"] == 0
            assert max(score for score in scores.values() if score == score) == 0
    assert keys[0] == keys[1]
    assert json.loads((tmp_path / "results0.segm.json").read_text()) == []


def test_lvis_with_other_categories(tmp_path: Path, shapes_root: Path):
    root = write_lvis(tmp_path / "lvis", shapes_root)
    path = root / "annotations/lvis_v1_val.json"
    content = json.loads(path.read_text())
    content["categories"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has 1202 categories, but the dataset has 1203 classes"):
        DATASETS.build(
            dict(type="LVISInstanceDataset", data_root=str(root), data_prefix=dict(img=""),
                 ann_file="annotations/lvis_v1_val.json", pipeline=[])
        )  # fmt: skip


def test_label_image():
    """Instances hold 1000 * class + number, groups the class alone; other classes are left out."""
    ids = np.full((6, 8), 7, np.uint16)  # road
    ids[1:3, 2:6] = 26001
    ids[4:, :3] = 24
    ids[0, 7] = 29000  # a caravan, which is not evaluated
    group, car = instances_of(ids)
    assert (car["category_id"], car["iscrowd"], car["area"]) == (26, 0, 8)
    assert car["bbox"] == [2, 1, 4, 2]
    assert (group["category_id"], group["iscrowd"], group["area"]) == (24, 1, 6)
    mask = mask_of(car, dict(height=6, width=8))
    assert np.array_equal(mask, ids == 26001)
    assert list(CATEGORIES.values()) == list(
        DATASETS.get("CityscapesInstanceDataset").METAINFO["classes"]
    )


def test_conversion_tool(
    tmp_path: Path,
    shapes_root: Path,
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    def run(folder: Path) -> None:
        monkeypatch.setattr(sys, "argv", ["convert_cityscapes.py", str(folder)])
        runpy.run_path(str(repo / "tools" / "convert_cityscapes.py"), run_name="__main__")

    root = write_cityscapes(tmp_path / "cityscapes", shapes_root)
    target = root / "annotations/instancesonly_filtered_gtFine_val.json"
    before = target.read_text()
    target.unlink()
    run(root)
    assert f"{target}: 4 images, " in capsys.readouterr().out
    assert target.read_text() == before
    (root / "leftImg8bit").rename(root / "other")
    for folder, message in ((root, "has no photo leftImg8bit/train"), (tmp_path, "there is no")):
        with pytest.raises(SystemExit, match="2"):
            run(folder)
        assert message in capsys.readouterr().err


def voc(root: Path, **options: object):
    config = dict(type="VOCBoxDataset", data_root=str(root), pipeline=[], test_mode=True,
                  ann_file="VOC2007/ImageSets/Main/test.txt",
                  data_prefix=dict(sub_data_root="VOC2007/"))  # fmt: skip
    return DATASETS.build({**config, **options})


def test_wrong_voc_folders(tmp_path: Path, shapes_root: Path):
    root = write_voc(tmp_path / "voc", shapes_root)
    assert len(voc(root)) == 4
    with pytest.raises(ValueError, match=r"none of|no object of .* they are named \['aeroplane'"):
        voc(root, metainfo=dict(classes=("Aeroplane", "zebra")))
    with pytest.raises(ValueError, match="bare string 'cat', not a tuple"):
        voc(root, metainfo=dict(classes="cat"))
    photo = next((root / "VOC2007/JPEGImages").glob("val000001.jpg"))
    photo.rename(photo.with_suffix(".png"))
    with pytest.raises(ValueError, match=r"lacks .*val000001\.jpg"):
        voc(root)
    first, second = sorted((root / "VOC2007/Annotations").glob("val*.xml"))[:2]
    first.write_text("<annotation>")
    with pytest.raises(ValueError, match=r"val000001\.xml is not XML"):
        voc(root)
    first.unlink()
    with pytest.raises(ValueError, match=r"lists val000001, but there is no .*val000001\.xml"):
        voc(root)
    (root / "VOC2007/ImageSets/Main/test.txt").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        voc(root)
    assert second.is_file() and cv2.imread(str(photo.with_suffix(".png"))) is not None
