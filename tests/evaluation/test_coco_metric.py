"""Boxes, masks and keypoints are scored as pycocotools scores them when called by hand."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from metric_cases import (
    ALL,
    BOX_KEYS,
    KEYPOINT_KEYS,
    SIGMAS,
    TINY,
    Predictions,
    expected,
    score,
    without_detections,
)
from mmdet.evaluation import CocoMetric
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import Params

from mmdet_maskr.coco.keypoint_meta import COCO_PERSON
from mmdet_maskr.datasets.shapes import meta as shapes_meta
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import CocoInstanceMetric, backends
from mmdet_maskr.ops.mask_rle import RLEMasks

PERSON = dict(classes=("person",), **COCO_PERSON)
PERSON_SIGMAS = Params("keypoints").kpt_oks_sigmas  # pycocotools' own


@pytest.fixture(scope="module")
def person_file(coco_mini: Path) -> Path:
    return coco_mini / "annotations/person_keypoints_val2017.json"


# ---------------------------------------------------------------------------------------- scores
def test_ground_truth_scores_one(person_file: Path):
    """Boxes, masks and keypoints of the annotations themselves have AP 1."""
    given = Predictions(person_file, person_file, 17)
    scores = score(given.samples, PERSON, ann_file=str(person_file), metric=ALL)
    assert set(scores) == {f"coco/{m}_{k}" for m in ALL[:2] for k in BOX_KEYS} | {
        f"coco/keypoints_{k}" for k in KEYPOINT_KEYS
    }
    assert scores == dict.fromkeys(scores, 1.0)


def test_disturbed_ground_truth_scores_as_by_hand(person_file: Path):
    """Noise, lost and doubled detections: all scores are pycocotools' own."""
    given = Predictions(person_file, person_file, 17, noise=0.04)
    scores = score(given.samples, PERSON, ann_file=str(person_file), metric=ALL)
    stats = {name: given.stats(name, PERSON_SIGMAS, (1,)) for name in ALL}
    by_hand = {k: v for name in ALL for k, v in expected(stats[name], name).items()}
    assert scores == by_hand
    assert all(0.1 < scores[f"coco/{name}_mAP"] < 0.9 for name in ALL)


def test_joint_model_is_scored_on_all_three(coco_mini: Path, person_file: Path):
    """80 classes with boxes and masks from one file, people's keypoints from the other."""
    instances = coco_mini / "annotations/instances_val2017.json"
    given = Predictions(instances, person_file, 17, noise=0.04)
    classes = tuple(c["name"] for c in given.boxes.dataset["categories"])
    meta = dict(PERSON, classes=classes, keypoint_classes=("person",))
    options = dict(ann_file=str(instances), keypoint_ann_file=str(person_file), metric=ALL)
    scores = score(given.samples, meta, **options)
    stats = {name: given.stats(name, PERSON_SIGMAS, (1,)) for name in ALL}
    assert len(given.by_hand["keypoints"]) < len(given.by_hand["bbox"])
    assert scores == {k: v for name in ALL for k, v in expected(stats[name], name).items()}

    with pytest.raises(UserError, match=r"of 'person' in .*instances_val2017.* keypoint_ann_"):
        score([], meta, ann_file=str(instances), metric="keypoints")


def test_boxes_masks_and_proposals_are_mmdets(coco_mini: Path):
    """Every key of CocoMetric, with its value, classwise ones included."""
    instances = coco_mini / "annotations/instances_val2017.json"
    given = Predictions(instances, instances, 17, noise=0.04)
    meta = dict(classes=tuple(c["name"] for c in given.boxes.dataset["categories"]))
    options = dict(ann_file=str(instances), classwise=True)
    options["metric"] = ["bbox", "segm", "proposal"]
    theirs = CocoMetric(**options)
    theirs.dataset_meta = meta
    theirs.process({}, given.samples)
    wanted = theirs.evaluate(len(given.samples))
    scores = score(given.samples, meta, **options)
    assert scores.keys() == wanted.keys() and len(scores) > 80
    np.testing.assert_array_equal(list(scores.values()), list(wanted.values()))  # some are NaN


@pytest.mark.parametrize("backend", list(backends.BACKENDS))
def test_every_backend_gives_the_same_scores(coco_mini: Path, person_file: Path, backend: str):
    """All scores of boxes, masks, proposals and keypoints, classwise ones included."""
    if backend not in backends.installed():
        pytest.skip(f"needs {backends.BACKENDS[backend].package}")
    instances = coco_mini / "annotations/instances_val2017.json"
    given = Predictions(instances, person_file, 17, noise=0.04)
    classes = tuple(c["name"] for c in given.boxes.dataset["categories"])
    meta = dict(PERSON, classes=classes, keypoint_classes=("person",))
    options = dict(ann_file=str(instances), keypoint_ann_file=str(person_file), classwise=True)
    options["metric"] = [*ALL, "proposal", "proposal_fast"]
    wanted = score(given.samples, meta, backend="pycocotools", **options)
    scores = score(given.samples, meta, backend=backend, **options)
    assert scores.keys() == wanted.keys() and len(scores) > 80
    np.testing.assert_array_equal(list(scores.values()), list(wanted.values()))


def test_of_several_classes_one_has_keypoints(shapes_root: Path):
    """Shapes: nine keypoints of figures; detections of the other shapes are not written."""
    file = shapes_root / "annotations/instances_train.json"
    given = Predictions(file, file, 9, noise=0.03)
    meta = dict(
        classes=shapes_meta.CLASSES,
        keypoint_classes=("figure",),
        keypoints=shapes_meta.KEYPOINTS,
        keypoint_swaps=shapes_meta.SWAPS,
        keypoint_sigmas=shapes_meta.SIGMAS,
    )
    scores = score(given.samples, meta, ann_file=str(file), metric=ALL)
    figure = shapes_meta.CLASSES.index("figure") + 1
    stats = {name: given.stats(name, shapes_meta.SIGMAS, (figure,)) for name in ALL}
    assert scores == {k: v for name in ALL for k, v in expected(stats[name], name).items()}
    assert 0.1 < scores["coco/keypoints_mAP"] < 0.9


# ------------------------------------------------------------------------------ a small dataset
def test_five_keypoints_with_own_sigmas(tiny: Path):
    """OKS of one moved detection, by its formula, lies between two thresholds as it should."""
    given = Predictions(tiny, tiny, 5)
    assert score(given.samples, TINY, ann_file=str(tiny), metric="keypoints")[
        "coco/keypoints_mAP"
    ] == pytest.approx(1.0)
    moved = 6.0
    for sample in given.samples:
        sample["pred_instances"]["keypoints"][..., 0] += moved
    oks = np.mean(np.exp(-(moved**2) / (2 * 1800.0 * (2 * np.array(SIGMAS)) ** 2)))
    passed = np.count_nonzero(np.linspace(0.5, 0.95, 10) <= oks)
    assert 0 < passed < 10
    scores = score(given.samples, TINY, ann_file=str(tiny), metric="keypoints")
    assert scores["coco/keypoints_mAP"] == pytest.approx(passed / 10)


def test_category_ids_that_are_strings(tiny: Path):
    """As some tools write them."""
    content = json.loads(tiny.read_text())
    for category in content["categories"]:
        category["id"] = category["name"]
    names = {7: "fish", 3: "bird"}
    for annotation in content["annotations"]:
        annotation["category_id"] = names[annotation["category_id"]]
    tiny.write_text(json.dumps(content))
    given = Predictions(tiny, tiny, 5)
    scores = score(given.samples, TINY, ann_file=str(tiny), metric=ALL)
    assert [scores[f"coco/{metric}_mAP"] for metric in ALL] == [1.0, 1.0, 1.0]


def test_unlabeled_keypoints_are_not_looked_for(tiny: Path):
    """An annotation without keypoints, or with none labeled, is neither missed nor a mistake."""
    given = Predictions(tiny, tiny, 5)
    kept = [i for i in range(4) if i != 1]
    first = given.samples[0]["pred_instances"]
    given.samples[0]["pred_instances"] = {
        k: RLEMasks([v[i] for i in kept], v.size) if k == "masks" else v[kept]
        for k, v in first.items()
    }
    scores = score(given.samples, TINY, ann_file=str(tiny), metric="keypoints")
    assert scores["coco/keypoints_mAP"] == 1.0


def test_scores_of_each_class(tiny: Path):
    """Classwise keypoint AP goes by name, though the file's ids are not in order."""
    given = Predictions(tiny, tiny, 5)
    for sample in given.samples:  # birds (label 1) are lost
        sample["pred_instances"]["keypoints"][sample["pred_instances"]["labels"] == 1] += 1000
    options = dict(ann_file=str(tiny), metric="keypoints")
    scores = score(given.samples, TINY, classwise=True, **options)
    assert scores["coco/keypoints_fish_precision"] == 1.0
    assert scores["coco/keypoints_bird_precision"] == 0.0
    one = dict(TINY, keypoint_classes=("fish",))
    scores = score(given.samples, one, classwise=True, **options)
    assert set(scores) == {f"coco/keypoints_{k}" for k in KEYPOINT_KEYS}
    assert scores["coco/keypoints_mAP"] == 1.0


@pytest.mark.parametrize("metric", ["bbox", "segm"])
def test_scores_of_each_class_of_boxes_and_masks(tiny: Path, metric: str):
    """They go by name too, where CocoMetric swaps them: it sorts the ids, but not the names."""
    given = Predictions(tiny, tiny, 5)
    for sample in given.samples:  # birds (label 1, id 3) are lost, fish (id 7) are found
        pred = sample["pred_instances"]
        kept = (pred["labels"] == 0).nonzero()[:, 0].tolist()
        masks = RLEMasks([pred["masks"][i] for i in kept], pred["masks"].size)
        sample["pred_instances"] = {k: v[kept] for k, v in pred.items() if k != "masks"}
        sample["pred_instances"]["masks"] = masks
    options = dict(ann_file=str(tiny), metric=metric, classwise=True)
    scores = score(given.samples, TINY, **options)
    assert (scores["coco/fish_precision"], scores["coco/bird_precision"]) == (1.0, 0.0)
    theirs = CocoMetric(**options)
    theirs.dataset_meta = TINY
    theirs.process({}, given.samples)
    swapped = theirs.evaluate(len(given.samples))
    assert (swapped["coco/fish_precision"], swapped["coco/bird_precision"]) == (0.0, 1.0)


def test_items_and_thresholds_by_option(tiny: Path):
    given = Predictions(tiny, tiny, 5)
    options = dict(ann_file=str(tiny), metric=["bbox", "keypoints"])
    scores = score(given.samples, TINY, metric_items=["mAP", "mAP_s", "AR"], **options)
    assert set(scores) == {
        "coco/bbox_mAP",
        "coco/bbox_mAP_s",
        "coco/keypoints_mAP",
        "coco/keypoints_AR",
    }
    for sample in given.samples:
        sample["pred_instances"]["keypoints"] += 6
    options = dict(ann_file=str(tiny), metric="keypoints")
    assert score(given.samples, TINY, **options)["coco/keypoints_mAP"] < 1
    assert score(given.samples, TINY, iou_thrs=[0.1], **options)["coco/keypoints_mAP"] == 1


def test_sorted_categories(tiny: Path):
    """Labels follow the categories' ids (bird 3, fish 7), not the file's order."""
    given = Predictions(tiny, tiny, 5)
    for sample in given.samples:
        sample["pred_instances"]["labels"] = 1 - sample["pred_instances"]["labels"]
    meta = dict(TINY, classes=("bird", "fish"))
    scores = score(given.samples, meta, ann_file=str(tiny), metric=ALL, sort_categories=True)
    assert [scores[f"coco/{name}_mAP"] for name in ALL] == [1.0] * 3


def test_proposal_recall_does_not_change_from_epoch_to_epoch(tiny: Path):
    """COCOeval marks unlabeled people as ignored; that must not reach fast recall."""
    given = Predictions(tiny, tiny, 5)
    metric = CocoInstanceMetric(str(tiny), ["proposal_fast", "keypoints"])
    metric.dataset_meta = TINY
    for sample in given.samples:  # only the unlabeled fish is found
        sample["pred_instances"]["bboxes"][[0, 2, 3]] = 0
    epochs = []
    for _ in range(2):
        metric.process({}, given.samples)
        epochs.append(metric.evaluate(2))
    assert epochs[0] == epochs[1]


def test_fast_proposal_recall_of_images_that_differ(coco_mini: Path):
    """As COCO's AR of all categories as one; mmdet's stops where images differ in their boxes."""
    instances = coco_mini / "annotations/instances_val2017.json"
    given = Predictions(instances, instances, 17, noise=0.02)
    for sample in given.samples:  # as proposals come: the best first
        pred = sample["pred_instances"]
        order = pred["scores"].argsort(descending=True, stable=True)
        masks = pred.pop("masks")
        sample["pred_instances"] = {k: v[order] for k, v in pred.items()}
        sample["pred_instances"]["masks"] = RLEMasks([masks[i] for i in order], masks.size)
    meta = dict(classes=tuple(c["name"] for c in given.boxes.dataset["categories"]))
    names = [f"coco/AR@{count}" for count in (1, 10, 100)]
    options = dict(ann_file=str(instances), proposal_nums=(1, 10, 100))
    fast = score(given.samples, meta, metric="proposal_fast", **options)
    slow = score(given.samples, meta, metric="proposal", **options)
    assert list(fast) == names
    wanted = [slow[f"coco/AR@{count}"] for count in (1, 10, 100)]
    np.testing.assert_allclose([fast[name] for name in names], wanted, atol=0.02)
    assert fast[names[0]] < fast[names[1]] <= fast[names[2]]
    for numbers in ((10,), (1, 10), (1, 5, 10, 100)):  # as many as wanted
        more = dict(options, metric="proposal_fast", proposal_nums=numbers)
        some = score(given.samples, meta, **more)
        assert list(some) == [f"coco/AR@{count}" for count in numbers]
        assert some["coco/AR@10"] == fast["coco/AR@10"]


def test_two_files_with_ids_of_their_own(tiny: Path, tmp_path: Path):
    """Categories are matched by name; other categories and images of the keypoint file are not
    scored; results have that file's ids."""
    content = json.loads(tiny.read_text())
    content["categories"] = [
        dict(id=i, name=n) for i, n in [(5, "cow"), (12, "bird"), (11, "fish")]
    ]
    content["images"].append(dict(content["images"][0], id=3))
    for annotation in content["annotations"]:
        annotation["category_id"] = {7: 11, 3: 12}[annotation["category_id"]]
    last = content["annotations"][-1]
    content["annotations"] += [dict(last, id=20, image_id=3), dict(last, id=21, category_id=5)]
    file = tmp_path / "keypoints.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    scores = score(
        Predictions(tiny, tiny, 5).samples,
        TINY,
        ann_file=str(tiny),
        keypoint_ann_file=str(file),
        metric=["bbox", "keypoints"],
        classwise=True,
        outfile_prefix=str(tmp_path / "out"),
    )
    assert scores["coco/keypoints_mAP"] == scores["coco/bbox_mAP"] == 1.0
    by_class = {k for k in scores if "keypoints" in k and "precision" in k}
    assert by_class == {"coco/keypoints_fish_precision", "coco/keypoints_bird_precision"}
    written = {
        name: {r["category_id"] for r in json.loads((tmp_path / f"out.{name}.json").read_text())}
        for name in ("bbox", "keypoints")
    }
    assert written == dict(bbox={3, 7}, keypoints={11, 12})


# ------------------------------------------------------------------------------------- no results
def test_no_detection_at_all_scores_zero(tiny: Path):
    """Every score that there is ground truth for is 0, none is absent."""
    samples = without_detections(Predictions(tiny, tiny, 5).samples)
    options = dict(ann_file=str(tiny), metric=["bbox", "segm", "proposal", "keypoints"])
    scores = score(samples, TINY, classwise=True, **options)
    for name in ("bbox", "segm", "keypoints"):
        assert scores[f"coco/{name}_mAP"] == scores[f"coco/{name}_mAP_50"] == 0.0
    assert scores["coco/AR@100"] == scores["coco/bird_precision"] == 0.0
    assert scores["coco/keypoints_mAP_l"] == -1.0  # no such annotation, as with detections


@pytest.mark.parametrize("backend", backends.installed())
def test_mmdets_option_for_processes_forks_none(
    tiny: Path, backend: str, monkeypatch: pytest.MonkeyPatch
):
    """A process forked from one with a library's threads can wait for them forever."""
    samples = Predictions(tiny, tiny, 5).samples
    options = dict(ann_file=str(tiny), metric=["bbox", "segm"], backend=backend)
    wanted = score(samples, TINY, **options)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    assert score(samples, TINY, use_mp_eval=True, **options) == wanted


def test_images_without_detections(tiny: Path):
    """One image's objects are all lost: half of the labeled ones."""
    samples = Predictions(tiny, tiny, 5).samples
    samples[0:1] = without_detections(samples[0:1])
    meta = dict(TINY, keypoint_classes=("bird",))
    scores = score(samples, meta, ann_file=str(tiny), metric="keypoints", metric_items=["AR"])
    assert scores == {"coco/keypoints_AR": 0.5}


def test_ground_truth_from_data_samples(tiny: Path):
    """Without an annotation file boxes are scored as mmdet does, and no detection gives 0."""
    samples = Predictions(tiny, tiny, 5).samples
    truth = json.loads(tiny.read_text())["annotations"]
    for sample in samples:
        sample["instances"] = [
            dict(bbox=[x, y, x + w, y + h], bbox_label=(7, 3).index(a["category_id"]))
            for a in truth
            if a["image_id"] == sample["img_id"]
            for x, y, w, h in [a["bbox"]]
        ]
    assert score(samples, TINY, metric="bbox")["coco/bbox_mAP"] == 1.0
    assert score(without_detections(samples), TINY, metric="bbox")["coco/bbox_mAP"] == 0.0
    with pytest.raises(UserError, match="none of the 8 objects of the data samples has a mask"):
        score(samples, TINY, metric="segm")
    with pytest.raises(UserError, match="metric 'keypoints' needs ann_file"):
        CocoInstanceMetric(metric=["keypoints"])


# ------------------------------------------------------------------------------------------ files
def test_format_only_writes_files_that_pycocotools_reads(tiny: Path, tmp_path: Path):
    """PREFIX.{bbox,segm,keypoints}.json; keypoints are pixel indices and have no box."""
    given = Predictions(tiny, tiny, 5, noise=0.02)
    meta = dict(TINY, keypoint_classes=("fish",))
    prefix = tmp_path / "out" / "test"
    options = dict(ann_file=str(tiny), outfile_prefix=str(prefix), metric=ALL)
    assert score(given.samples, meta, format_only=True, **options) == {}
    truth = COCO(str(tiny))
    for name in ALL:
        found = json.loads(Path(f"{prefix}.{name}.json").read_text())
        loaded = truth.loadRes(f"{prefix}.{name}.json")
        fish = [r for r in given.by_hand["bbox"] if r["category_id"] == 7]
        count = len(fish) if name == "keypoints" else len(given.by_hand["bbox"])
        assert len(found) == len(loaded.anns) == count > 0
    first, sample = found[0], given.samples[0]["pred_instances"]
    assert set(first) == {"image_id", "category_id", "keypoints", "score"}
    assert (first["image_id"], first["category_id"]) == (1, 7)
    assert first["score"] == sample["scores"][0].item()
    triples = np.array(first["keypoints"]).reshape(5, 3)
    np.testing.assert_array_equal(triples[:, :2] + 0.5, sample["keypoints"][0].numpy())
    np.testing.assert_array_equal(triples[:, 2], sample["keypoint_scores"][0].numpy())
    one = next(iter(loaded.anns.values()))  # its area is that of its keypoints
    assert one["area"] == pytest.approx(np.prod(np.ptp(triples[:, :2], axis=0)))


def test_format_only_without_annotations(tiny: Path, tmp_path: Path):
    """COCO's test sets have images and categories alone: files are written, scores refused."""
    given = Predictions(tiny, tiny, 5)
    content = json.loads(tiny.read_text())
    del content["annotations"]
    file = tmp_path / "image_info_test.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    options = dict(ann_file=str(file), outfile_prefix=str(tmp_path / "out"), metric=ALL)
    assert score(given.samples, TINY, format_only=True, **options) == {}
    for name in ALL:
        assert len(json.loads((tmp_path / f"out.{name}.json").read_text())) == 8
    with pytest.raises(UserError, match=r"image_info_test.json lacks \['annotations'\]"):
        CocoInstanceMetric(**options)


def test_files_are_those_of_mmdet(tiny: Path, tmp_path: Path):
    """The same records of boxes and masks, number for number."""
    given = Predictions(tiny, tiny, 5, noise=0.02)
    options = dict(ann_file=str(tiny), metric=["bbox", "segm"])
    score(given.samples, TINY, outfile_prefix=str(tmp_path / "ours"), **options)
    theirs = CocoMetric(outfile_prefix=str(tmp_path / "theirs"), **options)
    theirs.dataset_meta = TINY
    theirs.process({}, given.samples)
    theirs.evaluate(len(given.samples))
    for name in ("bbox", "segm"):
        ours, wanted = (
            json.loads((tmp_path / f"{who}.{name}.json").read_text()) for who in ("ours", "theirs")
        )
        assert ours == wanted and ours


def test_scores_and_files_together(tiny: Path, tmp_path: Path):
    given = Predictions(tiny, tiny, 5)
    options = dict(ann_file=str(tiny), outfile_prefix=str(tmp_path / "out"), metric="keypoints")
    assert score(given.samples, TINY, **options)["coco/keypoints_mAP"] == 1.0
    assert (tmp_path / "out.keypoints.json").is_file()


def test_evaluator_and_pickled_results(tiny: Path):
    """Data elements pass mmengine's Evaluator; what is stored can be sent between processes."""
    given = Predictions(tiny, tiny, 5)
    metric = CocoInstanceMetric(str(tiny), ALL)
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = TINY
    for sample in given.samples:
        element = DetDataSample(metainfo=dict(img_id=sample["img_id"], ori_shape=(100, 210)))
        element.pred_instances = InstanceData(**sample["pred_instances"])
        evaluator.process([element], {})
    metric.results = pickle.loads(pickle.dumps(metric.results))
    scores = evaluator.evaluate(len(given.samples))
    assert scores["coco/keypoints_mAP"] == scores["coco/segm_mAP"] == 1.0
