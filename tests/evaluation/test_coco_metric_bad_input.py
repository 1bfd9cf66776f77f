"""Wrong options, metainfo, predictions and files end in an error that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from metric_cases import SIGMAS, TINY, Predictions, rewrite, score

from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import CocoInstanceMetric, backends


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(metric="pose"), "'pose': it must be .*'bbox', 'segm', 'keypoints', 'proposal'"),
        (dict(metric=["bbox", "Keypoints"]), "one or several of"),
        (dict(metric=[]), "one or several of"),
        (dict(metric_items=["mAP", "mAP_x"]), r"metric_items has \['mAP_x'\]"),
        (dict(metric="keypoints", metric_items=["mAP_s"]), r"\['mAP_s'\].*'mAP_m'"),
        (dict(metric="bbox", metric_items=["AR"]), r"\['AR'\].*'AR@100'"),
        (dict(backend="coco"), "backend='coco': it must be one of .*'pycocotools'"),
        (dict(proposal_nums=(1, 10)), r"proposal_nums=\(1, 10\): .* three numbers"),
        (dict(proposal_nums=(1, 10, 10)), "three numbers"),
        (dict(proposal_nums=(0, 10, 100)), "three numbers"),
        (dict(metric="proposal_fast", proposal_nums=()), "three numbers"),
        (dict(metric=["proposal_fast", "bbox"], proposal_nums=(1, 10)), "three numbers"),
        (dict(max_dets=0), "max_dets=0"),
        (dict(max_dets=1.5), "max_dets=1.5"),
        (dict(ann_file="nowhere/tiny.json"), "no annotation file .*nowhere/tiny.json"),
    ],
)
def test_wrong_options(tiny: Path, options: dict, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backends, "_version", lambda name: "9.0")
    with pytest.raises(UserError, match=message):
        CocoInstanceMetric(**{"ann_file": str(tiny), **options})


FOUR = dict(keypoints=("a", "b", "c", "d"), keypoint_sigmas=SIGMAS[:4])


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (dict(TINY, keypoint_sigmas=None), "metainfo lacks 'keypoint_sigmas'"),
        (dict(TINY, keypoint_sigmas=SIGMAS[:4]), "has 4 entries for 5 keypoints"),
        (dict(TINY, **FOUR), r"annotation 1 of .*tiny.json has 15 .*3 x 4"),
        (dict(TINY, keypoint_classes=("cow",)), r"\['cow'\] are not in the classes"),
        (dict(TINY, classes=("fish", "Bird")), r"'Bird' \(did you mean 'bird'\?\)"),
    ],
)
def test_wrong_metainfo_ends_before_the_first_image(tiny: Path, meta: dict, message: str):
    metric = CocoInstanceMetric(str(tiny), "keypoints")
    with pytest.raises(UserError, match=message):
        metric.dataset_meta = meta


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pred: pred.pop("keypoints"), "a keypoint head .*'bboxes'"),
        (
            lambda pred: pred.update(keypoints=torch.zeros(4, 17, 2)),
            r"shape \(4, 17, 2\) and .* has 5 names",
        ),
        (lambda pred: pred.update(keypoint_scores=torch.zeros(4, 5, 1)), r"shape \(4, 5, 1\)"),
        (lambda pred: pred.update(keypoints=torch.zeros(4, 5, 3)), r"\(4, 5, 2\)"),
    ],
)
def test_wrong_predictions(tiny: Path, change: Callable[[dict], object], message: str):
    given = Predictions(tiny, tiny, 5)
    change(given.samples[0]["pred_instances"])
    with pytest.raises(UserError, match=message):
        score(given.samples, TINY, ann_file=str(tiny), metric="keypoints")


def test_no_masks_end_at_the_first_image(tiny: Path):
    """mmdet raises KeyError 'segm' after the whole test."""
    given = Predictions(tiny, tiny, 5)
    del given.samples[0]["pred_instances"]["masks"]
    metric = CocoInstanceMetric(str(tiny), ["bbox", "segm"])
    metric.dataset_meta = TINY
    with pytest.raises(UserError, match=r"'segm' needs predictions with masks, .*'bboxes'"):
        metric.process({}, given.samples[:1])


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 5, 5]], "annotation 3 of .*polygons of three or more points"),
    ],
)
def test_ground_truth_without_masks(tiny: Path, segmentation: list | None, message: str):
    rewrite(tiny, lambda annotations: annotations[2].update(segmentation=segmentation))
    metric = CocoInstanceMetric(str(tiny), "segm")
    with pytest.raises(UserError, match=message):
        metric.dataset_meta = TINY
    CocoInstanceMetric(str(tiny), "bbox").dataset_meta = TINY


def test_wrong_annotation_files(tiny: Path, tmp_path: Path):
    rewrite(tiny, lambda annotations: annotations[4].update(keypoints=[1, 2, 2]))
    metric = CocoInstanceMetric(str(tiny), "keypoints")
    with pytest.raises(UserError, match=r"annotation 5 of .*tiny.json has 3 .*3 x 5"):
        metric.dataset_meta = TINY
    content = json.loads(tiny.read_text())
    content["categories"][1]["keypoints"] = list("abced")
    file = tmp_path / "named.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    metric = CocoInstanceMetric(str(file), "keypoints")
    with pytest.raises(UserError, match=r"'bird' of .*named.json .* in another order"):
        metric.dataset_meta = TINY
    rewrite(tiny, lambda annotations: annotations.clear())
    content = json.loads(tiny.read_text())
    file = tmp_path / "birds.json"
    file.write_text(json.dumps({**content, "categories": content["categories"][1:]}))
    metric = CocoInstanceMetric(str(tiny), "keypoints", keypoint_ann_file=str(file))
    with pytest.raises(UserError, match=r"birds.json lacks \['fish'\] .*\('bird',\)"):
        metric.dataset_meta = TINY
    fewer = tmp_path / "fewer.json"
    content["images"].pop()
    fewer.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=r"fewer.json lacks 1 of the images .*tiny.json, ids \[2\]"):
        CocoInstanceMetric(str(tiny), "keypoints", keypoint_ann_file=str(fewer))
